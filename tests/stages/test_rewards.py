"""Where scores come from, as whole runs: functions without a reward model, ensembles, a judge behind an endpoint."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer

from launch.composition.compose import load
from rlhf.runs import Summary
from tests.stages.stopping.test_resume import kill_before_step, numbers, weights

pytestmark = pytest.mark.ci

SUMS = "algo=ppo data=sums reward=numeric_match model.init=random algo.samples_per_prompt=2 algo.reward_model=auto"
SHAPED = "reward.normalise=whiten reward.length_penalty=0.01 reward.repetition_penalty=0.1 reward.diversity_bonus=0.1"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    found = ChatServer()
    yield found
    found.close()


def last(directory: str) -> dict[str, float]:
    return Summary.read(Path(directory)).final


def test_a_function_needs_no_reward_model_and_its_run_continues_bit_by_bit(
    main: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even `auto` is looked for; the critic of its own starts from the policy's weights."""
    command = f"{SUMS} {SHAPED}"
    assert main(f"{command} hydra.run.dir=whole") == 0
    summary = Summary.read(Path("whole"))
    assert set(summary.parents) == {"model.init"}
    final = summary.final
    assert final["objective/reward/numeric_match"] == final["objective/score"]
    assert {"val/reward/numeric_match", "objective/reward/length", "objective/reward/diversity"} <= set(final)
    sample = json.loads(Path("whole", "samples.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert sample["reward/numeric_match"] == sample["score"]
    with monkeypatch.context() as patch:
        kill_before_step(patch, 5)
        assert main(f"{command} hydra.run.dir=parts") == 1
    assert main(f"{command} hydra.run.dir=parts resume=true") == 0
    assert Summary.read(Path("parts")).resumed_from == 4
    whole, parts = weights("whole"), weights("parts")
    assert all((whole[name] == parts[name]).all() for name in whole)
    assert numbers("parts") == numbers("whole")


ENSEMBLE = "algo=ppo model.init=random train.max_steps=1 reward.combine=deviation algo.critic=separate"


def test_an_ensemble_scores_and_a_single_model_has_no_parts(main: Any) -> None:
    for seed in (1, 2):
        assert main(f"algo=reward model.init=random train.max_steps=1 seed={seed} hydra.run.dir=rm{seed}") == 0
    assert main(f"{ENSEMBLE} algo.reward_model=[rm1,rm2] hydra.run.dir=both") == 0
    summary = Summary.read(Path("both"))
    assert set(summary.parents) == {"model.init", "algo.reward_model.0", "algo.reward_model.1"}
    found = summary.final
    members = sum(found[f"objective/reward/model_{i}"] for i in range(2)) / 2
    assert found["objective/score"] == pytest.approx(members - 0.1 * found["objective/reward/model_std"], abs=1e-5)
    assert found["objective/reward/model_std"] > 0
    # Columns of a default run stay as they were.
    assert main("algo=ppo model.init=random algo.reward_model=rm1 train.max_steps=1 hydra.run.dir=one") == 0
    with open("one/metrics.csv", encoding="utf-8") as stream:
        assert not [name for name in next(csv.reader(stream)) if "/reward/" in name]


def test_an_ensemble_is_known_by_its_members_weights(main: Any) -> None:
    for seed in (1, 2, 3):
        assert main(f"algo=reward model.init=random train.max_steps=1 seed={seed} hydra.run.dir=rm{seed}") == 0
    assert main(f"{ENSEMBLE} algo.reward_model=[rm1,rm2] hydra.run.dir=one") == 0
    Path("rm1").rename("elsewhere")
    assert main(f"{ENSEMBLE} algo.reward_model=[elsewhere,rm2] hydra.run.dir=moved") == 0
    assert main(f"{ENSEMBLE} algo.reward_model=[rm3,rm2] hydra.run.dir=other") == 0
    one, moved, other = (Summary.read(Path(name)).id for name in ("one", "moved", "other"))
    assert one == moved != other


def test_a_judge_scores_through_its_endpoint_and_is_asked_once(main: Any, server: ChatServer) -> None:
    command = (
        f"algo=ppo model.init=random reward=judge reward.endpoint.url={server.url} reward.endpoint.model=judge "
        "train.max_steps=1 train.batch_size=8 train.val_prompts=2 train.samples=1"
    )
    assert main(f"{command} hydra.run.dir=one") == 0
    # Marks are the worst of three sides, of which one is 7.5.
    assert 0 <= last("one")["objective/reward/judge"] <= 7.5
    asked = len(server.requests)
    assert asked > 0
    assert main(f"{command} hydra.run.dir=two") == 0
    assert len(server.requests) == asked and last("two")["objective/score"] == last("one")["objective/score"]


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("def score(completions):\n    return [1.0]\n", "reward.sources: "),
        ("def score(completions):\n    raise KeyError('x')\n", "reward.sources: "),
        ("def score(completions, solution):\n    return []\n", "reward.sources: "),
    ],
)
def test_a_function_that_fails_ends_the_run_with_its_key(main: Any, capfd: Any, code: str, key: str) -> None:
    Path("mine.py").write_text(code, encoding="utf-8")
    assert main(f"{SUMS} reward.sources=[mine.py:score] hydra.run.dir=run") == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert said[-1].startswith(key) and "mine.py:score" in said[-1]
    assert Summary.read(Path("run")).status == "failed"


def test_a_server_that_is_not_there_is_named_by_its_key(main: Any, capfd: Any) -> None:
    command = "algo=ppo model.init=random reward=judge reward.endpoint.url=http://127.0.0.1:9/v1"
    assert main(f"{command} reward.endpoint.model=judge hydra.run.dir=run") == 2
    assert capfd.readouterr().err.strip().splitlines()[-1].startswith("reward.endpoint.url: http://127.0.0.1:9/v1")


def test_mathematics_compose_with_a_real_model() -> None:
    config = load(["algo=grpo", "data=gsm8k", "reward=numeric_match", "model=smollm2-135m"])
    assert config.data.fields == {"answer": "answer"} and not config.reward.uses_model


def test_mathematics_take_two_steps(main: Any) -> None:
    solved = [
        {"question": f"{a} + {a}?", "answer": f"It is <<{a}+{a}={2 * a}>>{2 * a}.\n#### {2 * a}"} for a in range(99)
    ]
    Path("gsm8k.jsonl").write_text("".join(json.dumps(one) + "\n" for one in solved), encoding="utf-8")
    line = "algo=grpo data=gsm8k data.path=gsm8k.jsonl reward=numeric_match model.init=random algo.samples_per_prompt=4"
    assert main(f"{line} train.max_steps=2 hydra.run.dir=run") == 0
    assert 0 <= last("run")["objective/reward/numeric_match"] <= 1
