"""lm-evaluation-harness through its own interface, where it is installed; its refusals where it is not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rlhf.config import EvaluateSettings
from rlhf.config.rules import evaluation as rules
from verbs.evaluate import harness
from verbs.evaluate.harness import numbers, own_names_hidden

ROOT = Path(__file__).parents[3]
TASK = Path(__file__).with_name("harness_task.yaml")
needs_harness = pytest.mark.skipif(find_spec("lm_eval") is None, reason="pip install -e '.[harness]'")


def test_its_numbers_have_short_names() -> None:
    values = {"alias": "x", "acc,none": 0.5, "acc_stderr,none": 0.01, "em,strict": 1, "em_stderr,strict": "N/A", "n": 4}
    assert numbers(values) == {"acc": 0.5, "acc_stderr": 0.01, "em,strict": 1.0}


def test_our_script_is_not_the_library_evaluate() -> None:
    import evaluate

    assert Path(str(evaluate.__file__)).parent == ROOT
    with own_names_hidden():
        assert "evaluate" not in sys.modules
        assert not any(Path(entry or ".").resolve() == ROOT for entry in sys.path)
    assert sys.modules["evaluate"] is evaluate


def test_without_it_there_is_a_sentence(
    main_evaluate: Callable[[str], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rules, "find_spec", lambda name: None)
    assert main_evaluate("models.sft={a} evaluation.harness=[arc_easy]") == 2
    assert "evaluation.harness: arc_easy need lm-evaluation-harness, which is not installed" in capsys.readouterr().err
    monkeypatch.setattr(rules, "find_spec", lambda name: object())
    assert main_evaluate("models.sft={a} evaluation.harness=[arc_easy] evaluation.harness_path=nowhere") == 2
    assert "evaluation.harness_path: nowhere is not a folder" in capsys.readouterr().err


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    capitals = (("France", "Paris", "Rome"), ("Italy", "Rome", "Paris"), ("Japan", "Tokyo", "Oslo"))
    lines = [{"country": country, "choices": [right, wrong], "answer": 0} for country, right, wrong in capitals]
    (folder / "capitals.json").write_text(json.dumps(lines * 4))
    (folder / "capitals.yaml").write_text(TASK.read_text().format(folder=folder))
    return folder


@needs_harness
@pytest.mark.slow
def test_a_task_of_ones_own(main_evaluate: Callable[[str], int], tasks: Path) -> None:
    line = "models.base={b} models.sft={a} evaluation.guide=false evaluation.prompts=2 evaluation.texts=0 "
    assert main_evaluate(f"{line} evaluation.harness=[capitals] evaluation.harness_path={tasks}") == 0
    found: dict[str, Any] = json.loads(Path("out", "evaluation.json").read_text())["harness"]
    assert list(found) == ["base", "sft"]
    for model in found.values():
        assert set(model["capitals"]) == {"acc", "acc_stderr", "acc_norm", "acc_norm_stderr"}
        assert model["capitals"]["acc"] in [pytest.approx(n / 3, abs=1e-6) for n in range(4)]
    assert "| capitals acc |" in Path("out", "report.md").read_text(encoding="utf-8")


@needs_harness
@pytest.mark.slow
def test_what_it_cannot_do_is_a_sentence(
    main_evaluate: Callable[[str], int], tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"models.sft={{a}} evaluation.guide=false evaluation.prompts=2 evaluation.harness_path={tasks}"
    assert main_evaluate(f"{line} evaluation.harness=[capitols]") == 2
    told = capsys.readouterr().err
    assert "evaluation.harness: capitols is not a task of lm-evaluation-harness; did you mean capitals?" in told
    (tasks / "capitals.json").unlink()
    assert main_evaluate(f"{line} evaluation.harness=[capitals] hydra.run.dir=two") == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("evaluation.harness: capitals on models.sft failed with") and "capitals.json" in told


@needs_harness
@pytest.mark.slow
def test_the_numbers_are_the_models_own(models: Path, tasks: Path) -> None:
    """Accuracy is that of the continuation with the larger log-probability, computed here from the export."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rlhf.config import StrategyConfig
    from rlhf.runs import Parent

    settings = EvaluateSettings(harness=["capitals"], harness_path=str(tasks))
    parents = {"a": Parent("folder", models / "a", "0")}
    strategy = StrategyConfig(accelerator="cpu")
    found = harness.run_harness(settings, strategy, parents, harness.check_tasks(settings))
    model = AutoModelForCausalLM.from_pretrained(models / "a").eval()
    tokenizer = AutoTokenizer.from_pretrained(models / "a")

    def logprob(context: str, text: str) -> float:
        whole, start = tokenizer(f"{context} {text}").input_ids, len(tokenizer(context).input_ids)
        logprobs = model(torch.tensor([whole])).logits[0, :-1].log_softmax(-1)
        return sum(float(logprobs[i - 1, whole[i]]) for i in range(start, len(whole)))

    docs = json.loads((tasks / "capitals.json").read_text())
    with torch.no_grad():
        right = [
            logprob(f"The capital of {d['country']} is", d["choices"][0])
            > logprob(f"The capital of {d['country']} is", d["choices"][1])
            for d in docs
        ]
    assert found["a"]["capitals"]["acc"] == pytest.approx(sum(right) / len(right))
