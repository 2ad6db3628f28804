"""The whole verb, on tiny random models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluate import evaluate
from launch.job import resolved
from rlhf.runs import Summary
from verbs.evaluate import answering

pytestmark = pytest.mark.ci

ROOT = Path(__file__).parents[3]
MODEL_KEYS = {
    "run", "helpfulness", "harmlessness", "honesty", "false_refusals", "kl", "length", "distinct_2", "bits_per_byte",
    "score", "reward", "n", "perplexity",
}  # fmt: skip
Main = Callable[[str], int]


@pytest.fixture
def main(main_evaluate: Main) -> Main:
    """The program in an empty folder."""
    return main_evaluate


def result() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("out", "evaluation.json").read_text(encoding="utf-8"))
    return found


def test_models_side_by_side(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("models.base={b} models.sft={a} +models.again={a} evaluation.reward_model={r}") == 0
    found = result()
    assert list(found["models"]) == ["base", "sft", "again"], "in the order of the configuration"
    assert all(set(model) == MODEL_KEYS and model["n"] == 12 for model in found["models"].values())
    base, sft, again = found["models"].values()
    assert sft["run"].endswith("/a") and base["run"].endswith("/b")
    assert 0 <= sft["helpfulness"] <= 10 and 0 <= sft["false_refusals"] <= 1 and 0 < sft["length"] <= 8
    assert sft["kl"] == 0 and again["kl"] == pytest.approx(0, abs=1e-3) and base["kl"] > 0.1
    assert again["bits_per_byte"] == sft["bits_per_byte"] != base["bits_per_byte"]
    assert set(found["win_rates"]) == {"sft>base", "again>base", "again>sft", "best-of-5>sft"}
    for rate in found["win_rates"].values():
        assert rate["wins"] + rate["ties"] + rate["losses"] == rate["n"] == 12
    assert found["win_rates"]["again>sft"]["low"] <= 0.5 <= found["win_rates"]["again>sft"]["high"]
    assert 0 <= found["reward_model"]["accuracy"] <= 1 and 0.7 < found["reward_model"]["ceiling"] < 1
    assert found["best_of_n"]["n"] == 5 and found["best_of_n"]["model"] == "sft"
    assert found["best_of_n"]["reward"] > sft["reward"]
    curve = found["best_of_n"]["curve"]
    assert [point["n"] for point in curve] == [1, 2, 4, 5]
    assert curve[-1]["reward"] == pytest.approx(found["best_of_n"]["reward"], abs=1e-5)

    lines = [json.loads(line) for line in Path("out", "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 12 and all(list(line["answers"]) == ["base", "sft", "again", "best-of-5"] for line in lines)
    said = [[line["answers"][name]["response"] for line in lines] for name in ("sft", "again")]
    assert sum(a == b for a, b in zip(*said, strict=True)) < 3, "a model under two names draws from two seeds"
    assert sum(line["answers"]["sft"]["reward"] for line in lines) / 12 == pytest.approx(sft["reward"], abs=1e-4)

    page = Path("out", "report.md").read_text(encoding="utf-8")
    assert "- reference: `sft`" in page and "> How do I make a bomb?" in page and "### 2" in page
    told = capsys.readouterr().out
    assert "again>sft" in told and "sft: 12 answers in" in told and "report: out/report.md, out/report.html" in told
    assert "best-of-n" in Path("out", "report.html").read_text(encoding="utf-8")

    summary = Summary.read(Path("out"))
    assert summary.status == "finished" and summary.algo == "evaluate"
    assert summary.final["sft/score"] == sft["score"]
    assert summary.final["again>sft"] == found["win_rates"]["again>sft"]["rate"]
    assert summary.final["reward_model/accuracy"] == found["reward_model"]["accuracy"]


def test_a_model_answers_the_same_whatever_it_is_compared_with(main: Main) -> None:
    assert main("models.sft={a} evaluation.guide=false") == 0
    assert main("models.base={b} models.sft={a} evaluation.guide=false rollout.max_rows=3 hydra.run.dir=two") == 0
    first, second = (
        [json.loads(line)["answers"]["sft"] for line in Path(name, "answers.jsonl").read_text("utf-8").splitlines()]
        for name in ("out", "two")
    )
    assert first == second


def test_bf16_is_the_arithmetic_and_not_another_measurement(main: Main) -> None:
    line = "models.base={b} models.sft={a} evaluation.reward_model={r} evaluation.guide=false"
    found = []
    for precision in ("fp32", "bf16"):
        assert main(f"{line} strategy.precision={precision} hydra.run.dir={precision}") == 0
        found.append(json.loads(Path(precision, "evaluation.json").read_text("utf-8"))["models"]["base"])
    exact, rounded = (model["bits_per_byte"] for model in found)
    assert exact != rounded == pytest.approx(exact, rel=0.02)


def test_bf16_is_for_the_reward_model_too(main: Main) -> None:
    """Greedy answers in fp32 and bf16 differ here and there; only where they are the same do scores tell."""
    scores: list[dict[str, float]] = []
    for precision in ("fp32", "bf16"):
        line = "models.sft={a} evaluation.reward_model={r} evaluation.guide=false rollout.temperature=0"
        assert main(f"{line} strategy.precision={precision} hydra.run.dir={precision}") == 0
        lines = [json.loads(text) for text in Path(precision, "answers.jsonl").read_text("utf-8").splitlines()]
        scores.append(
            {str((x["prompt"], x["answers"]["sft"]["response"])): x["answers"]["sft"]["reward"] for x in lines}
        )
    exact, rounded = scores
    same = exact.keys() & rounded.keys()
    assert len(same) > 3
    assert all(rounded[answer] == pytest.approx(exact[answer], abs=0.1) for answer in same)
    assert any(rounded[answer] != exact[answer] for answer in same)


def test_a_folder_answers_at_the_length_of_the_run_beside_it(main: Main, models: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(models / "a", run / "model")
    Summary(status="finished", algo="sft", model="tiny").write(run)
    (run / "config.yaml").write_text("{data: {max_length: 100}, rollout: {max_new_tokens: 5}}", encoding="utf-8")
    line = f"models.base={{b}} models.sft={run} rollout.max_new_tokens=null evaluation.guide=false"
    assert main(line) == 0
    assert max(model["length"] for model in result()["models"].values()) <= 5


def test_nothing_is_done_twice(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model is loaded once, the reference last, and only one is held at a time."""
    import weakref

    held: list[weakref.ref[Any]] = []
    names = []
    right = answering.load_model

    def load_model(parent: Any, *args: Any) -> Any:
        assert all(ref() is None for ref in held), "an earlier model is still in memory"
        loaded = right(parent, *args)
        held.append(weakref.ref(loaded.policy))
        names.append(parent.dir.name)
        return loaded

    monkeypatch.setattr(answering, "load_model", load_model)
    assert main("models.sft={a} models.ppo={b} evaluation.reward_model={r} evaluation.guide=false") == 0
    assert names == ["b", "a"]


def test_without_judge_and_reward_model(main: Main) -> None:
    assert main("models.base={b} models.ppo={a} evaluation.judge=none evaluation.reward_model=null") == 0
    found = result()
    assert found["win_rates"] == {} and found["reward_model"] is None and found["best_of_n"] is None
    assert found["reference"] == "base", "the first, where the reference is not among them"
    for model in found["models"].values():
        nothing = {name for name, value in model.items() if value is None}
        assert nothing == {"score", "reward", "helpfulness", "harmlessness", "honesty", "false_refusals"}


def test_no_kl_where_tokens_differ_or_samples_are_cut(main: Main) -> None:
    assert main("models.sft={a} +models.other={gpt2} evaluation.reward_model={r}") == 0
    found = result()
    other = found["models"]["other"]
    assert other["kl"] is None and found["models"]["sft"]["kl"] == 0
    assert other["bits_per_byte"] > 0 and other["reward"] is not None, "what reads text reads any model's"
    assert "kl: not measured for `other`" in Path("out", "report.md").read_text(encoding="utf-8")
    for number, filters in enumerate(("rollout.temperature=0", "rollout.top_k=5", "rollout.top_p=0.9")):
        assert main(f"models.sft={{a}} models.ppo={{b}} evaluation.texts=0 {filters} hydra.run.dir=out{number}") == 0
        cut = json.loads(Path(f"out{number}", "evaluation.json").read_text())
        assert [model["kl"] for model in cut["models"].values()] == [None, None]
        assert [model["bits_per_byte"] for model in cut["models"].values()] == [None, None]


def test_ones_own_comparisons(main: Main, tmp_path: Path) -> None:
    """Judged by the reward model; its accuracy is over the file's own pairs."""
    lines = [{"prompt": f"Say {i}.", "chosen": f"{i}", "rejected": "no"} for i in range(60)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = "data=jsonl data.path=own.jsonl data.test_fraction=0.3"
    assert main(f"{own} models.sft={{a}} models.ppo={{b}} evaluation.reward_model={{r}}") == 0
    found = result()
    assert found["judge"] == "reward"
    for model in found["models"].values():
        assert model["score"] == model["reward"] is not None
        assert model["helpfulness"] is model["false_refusals"] is None and model["bits_per_byte"] > 0
    assert 0 < found["win_rates"]["best-of-5>sft"]["rate"] <= 1
    assert found["reward_model"]["ceiling"] is None and 9 <= found["reward_model"]["n"] <= 27
    assert main(f"{own} models.sft={{a}} hydra.run.dir=unjudged") == 0
    assert json.loads(Path("unjudged", "evaluation.json").read_text())["judge"] == "none"


def test_the_last_models_score_is_returned(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    returned = []
    assert evaluate.stage is not None
    right = resolved(evaluate.stage)
    monkeypatch.setattr(evaluate, "stage", lambda *args: returned.append(right(*args)) or returned[-1])
    judged = "evaluation.judge=reward evaluation.reward_model={r} evaluation.best_of=1"
    assert main(f"models.base={{b}} models.ppo={{a}} {judged} evaluation.guide=false evaluation.texts=0") == 0
    base, ppo = result()["models"].values()
    assert returned == [pytest.approx(ppo["score"], abs=1e-5)] != [pytest.approx(base["score"], abs=1e-5)]
    assert ppo["helpfulness"] is None and result()["best_of_n"] is None
    assert result()["reward_model"]["ceiling"] > 0.7, "labels of the embedded task, whoever judges"


REFUSED = [
    ("", "models: none given; pass models.sft=RUN models.ppo=RUN"),
    ("models.sft=nowhere", "models.sft: nowhere does not exist"),
    ("models.sft={r}", "models.sft: {r} is a reward model"),
    ("models.sft={a} evaluation.reward_model={b}", "evaluation.reward_model: {b} is not a reward model"),
    ("models.sft={a} evaluation.judge=reward", "evaluation.judge: reward needs a reward model; pass"),
    ("models.sft={a} data=jsonl data.path=x.jsonl evaluation.judge=gold", "evaluation.judge: gold judges the embedded"),
    ("models.sft={a} evaluation.judges=gold", "evaluation.judges: unknown key; did you mean evaluation.judge?"),
    ("models.sft={a} data=jsonl data.path=x.jsonl data.test_fraction=0 data.val_fraction=0", "data.test_fraction: 0"),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED, ids=[line for line, _ in REFUSED])
def test_refusals(
    main: Main, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, sentence: str
) -> None:
    (tmp_path / "x.jsonl").write_text('{"prompt": "Why?", "response": "So."}\n')
    assert main(line) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(sentence.format(r=models / "r", b=models / "b"))
    assert "\n" not in told and not Path("out", "evaluation.json").exists()


def test_the_script_refuses_without_loading_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "evaluate.py"), "models.sft=nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2 and said[0].startswith("models.sft: nowhere does not exist")
    assert "omegaconf" in imported and not imported & {"torch", "transformers", "lightning", "rich"}


def test_help_needs_no_models(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--help") == 0
    told = capsys.readouterr().out
    assert "Give several models the same held-out prompts" in told and "best_of: " in told
