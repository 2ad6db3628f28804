"""The program with labels of steps: what comes out, who reads it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from evaluate import evaluate
from lightning_modules.ppo import PPOModule
from rlhf.data.records import Prompt
from rlhf.evaluation.judges.reward_models import reward_judge
from rlhf.runs import Summary

pytestmark = pytest.mark.ci

PROCESS = "algo=process-reward data=worked_sums model.init=random train.max_steps=2"
ON_POLICY = "data=worked_sums model.init=random train.max_steps=1 algo.samples_per_prompt=4"


@pytest.fixture
def prm(main: Any) -> Path:
    """A process reward model that hasn't learnt much."""
    assert main(f"{PROCESS} hydra.run.dir=prm") == 0
    return Path("prm").absolute()


@torch.no_grad()
def test_the_export_loads_in_transformers_and_is_read_step_by_step(prm: Path) -> None:
    final = Summary.read(prm).final
    assert {"val/loss", "val/first_wrong_accuracy", "val/accuracy_low", "val/commoner_share"} <= final.keys()
    assert json.loads((prm / "model" / "config.json").read_text(encoding="utf-8"))["step_separator"] == "\n"
    theirs = AutoModelForSequenceClassification.from_pretrained(prm / "model")
    words = AutoTokenizer.from_pretrained(prm / "model")
    judge = reward_judge("x", str(prm / "model"), 128)
    prompt, answer = Prompt.of("What is 1 + 2 + 3?"), "1 + 2 = 3\n3 + 3 = 6"
    ids = words("### Human: What is 1 + 2 + 3?\n### Assistant: " + answer, return_tensors="pt")["input_ids"]
    ids = torch.cat([ids, torch.tensor([[words.eos_token_id]])], 1)
    scores = theirs.score(theirs.base_model(input_ids=ids).last_hidden_state)[0, :, 0].sigmoid()
    breaks = [i for i, token in enumerate(ids[0].tolist()) if words.decode([token]) == "\n"]
    assert len(breaks) == 2  # the first one stands in front of Assistant
    assert judge.scores([prompt], [answer]) == [pytest.approx(scores[[breaks[1], -1]].min().item(), abs=1e-5)]
    # What their pooling reads is the last step.
    assert theirs(input_ids=ids).logits.sigmoid().item() == pytest.approx(scores[-1].item(), abs=1e-5)


def test_it_rewards_policies_whole_or_step_by_step(prm: Path, main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(f"algo=grpo {ON_POLICY} algo.reward_model=prm reward.step_combine=product hydra.run.dir=grpo") == 0
    assert 0 < Summary.read(Path("grpo")).final["objective/score"] < 1
    seen: list[Any] = []
    right = PPOModule.estimate_advantages

    def estimate_advantages(self: PPOModule, episodes: Any) -> None:
        right(self, episodes)
        seen.append(episodes)

    monkeypatch.setattr(PPOModule, "estimate_advantages", estimate_advantages)
    command = f"algo=ppo {ON_POLICY} algo.reward_model=prm algo.kl_coef=0 algo.missing_eos_penalty=0"
    for number, extra in enumerate(("", "reward.step_rewards=true")):
        assert main(f"{command} {extra} hydra.run.dir=ppo{number}") == 0
    whole, steps = seen
    torch.testing.assert_close(steps.scores, whole.scores)
    torch.testing.assert_close(steps.rewards.sum(-1), whole.rewards.sum(-1))
    assert (whole.step_rewards == 0).all() and (whole.rewards != 0).sum() == len(whole)
    torch.testing.assert_close(steps.rewards, steps.step_rewards)


def test_weights_that_something_else_learns_from_are_no_process_model(prm: Path, main: Any) -> None:
    assert main("algo=reward data=worked_sums model.init=prm train.max_steps=1 hydra.run.dir=rm") == 0
    assert "step_separator" not in json.loads(Path("rm/model/config.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("algo=process-reward", "data=assistant"),
        (f"{PROCESS} algo.step_separator=", "algo.step_separator"),
        (f"algo=grpo {ON_POLICY} algo.reward_model=rm reward.step_combine=min", "reward.step_combine"),
        (f"algo=ppo {ON_POLICY} algo.reward_model=rm reward.step_rewards=true", "reward.step_rewards"),
        (f"algo=grpo {ON_POLICY} algo.reward_model=prm reward.step_rewards=true", "reward.step_rewards"),
        (
            f"algo=ppo {ON_POLICY} algo.reward_model=prm reward.step_rewards=true reward.normalise=scale",
            "reward.step_rewards",
        ),
        (f"algo=ppo {ON_POLICY} reward=numeric_match reward.step_rewards=true", "reward.step_rewards"),
        (f"algo=ppo {ON_POLICY} algo.reward_model=[prm,rm]", "algo.reward_model"),
    ],
)
def test_what_makes_no_sense_is_refused(line: str, key: str, main: Any, prm: Path, capfd: Any) -> None:
    if "rm" in line.replace("prm", ""):
        assert main("algo=reward data=worked_sums model.init=random train.max_steps=1 hydra.run.dir=rm") == 0
    capfd.readouterr()
    assert main(f"{line} hydra.run.dir=run") == 2
    assert capfd.readouterr().err.strip().splitlines()[-1].startswith(f"{key}")


def test_an_evaluation_picks_the_best_of_n_by_steps(prm: Path, main: Any, capfd: Any) -> None:
    assert main("algo=sft data=worked_sums model.init=random train.max_steps=1 hydra.run.dir=sft") == 0
    quick = (
        "data=worked_sums models.sft=sft evaluation.reward_model={} evaluation.prompts=4 evaluation.best_of=2 "
        "evaluation.texts=0 evaluation.guide=false evaluation.shown=1 strategy.threads=1 rollout.max_new_tokens=6 "
        "evaluation.step_combine=product hydra.run.dir={}"
    )
    assert evaluate.main(quick.format("prm", "eval").split()) == 0
    record = json.loads(Path("eval/evaluation.json").read_text(encoding="utf-8"))
    assert "probability" in json.dumps(record) and "best-of" in json.dumps(record).replace("_", "-")
    assert main("algo=reward data=worked_sums model.init=random train.max_steps=1 hydra.run.dir=rm") == 0
    capfd.readouterr()
    assert evaluate.main(quick.format("rm", "no").split()) == 2
    assert capfd.readouterr().err.strip().splitlines()[-1].startswith("evaluation.step_combine")
