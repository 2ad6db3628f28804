from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf.errors import DataError
from rlhf.reporting.gather import gather

MakeRun = Callable[..., Path]


def test_a_run(make_run: MakeRun) -> None:
    material = gather(make_run("a"))
    assert material.kind == "run" and [run.name for run in material.runs] == ["ppo"]
    assert material.runs[0].rows[-1]["val/score"] == 2.1
    assert {"gold", "kind"} <= material.runs[0].samples[0].keys(), "the judge knows these prompts"


def test_a_sweep_is_labelled_by_what_varies(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (1, 2):
        for coef in (0.1, 0.2):
            make_run(f"sweep/{coef}-{seed}", seed=seed, kl_coef=coef, lr=1e-4)
    make_run("sweep/late", seed=3, status="failed", kl_coef=0.2, lr=1e-4)
    material = gather(tmp_path / "sweep")
    assert material.kind == "sweep"
    assert material.varied == {"algo.kl_coef": [0.1, 0.2]}
    assert {name: len(runs) for name, runs in material.groups().items()} == {"ppo kl_coef=0.1": 2, "ppo kl_coef=0.2": 2}
    assert sorted(run.name for run in material.runs)[0] == "ppo kl_coef=0.1 seed=1"
    assert [path.name for path, _ in material.failed] == ["late"]


def test_parents_of_ones_own_seed_set_nothing_apart(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (1, 2):
        make_run(f"sweep/{seed}", seed=seed, reward_model=f"/runs/{seed}")
    assert gather(tmp_path / "sweep").varied == {}
    make_run("sweep/other", seed=1, reward_model="/runs/3")
    assert list(gather(tmp_path / "sweep").varied) == ["algo.reward_model"]


def test_an_evaluation_brings_its_runs(evaluation: Path) -> None:
    for path in (evaluation, evaluation / "evaluation.json"):
        material = gather(path)
        assert material.kind == "evaluation" and [run.name for run in material.runs] == ["sft", "ppo"]
    assert material.evaluation is not None
    found = [(finding.subject, finding.code) for finding in material.evaluation.findings()]
    assert found == [("sft", "self_bleu"), ("ppo", "bits"), ("ppo", "self_bleu")]


def test_repetitions_get_a_number(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("sweep/a")
    make_run("sweep/b")
    assert [run.name for run in gather(tmp_path / "sweep").runs] == ["ppo", "ppo #2"]


def test_what_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        gather(tmp_path / "missing")
    with pytest.raises(DataError, match="neither runs nor evaluations"):
        gather(tmp_path)
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(DataError, match="not an evaluation that can be read"):
        gather(tmp_path)


def test_more_settings_than_a_label_can_hold(make_run: MakeRun, tmp_path: Path) -> None:
    """The first of them are told, and an id after them keeps such runs apart."""
    for name, n in (("a", 1), ("b", 2)):
        make_run(f"sweep/{name}", **{f"key{i}": n for i in range(6)})
    runs = gather(tmp_path / "sweep").runs
    assert [run.label.rsplit(" ", 1)[0] for run in runs] == [f"ppo key0={n} key1={n} key2={n}" for n in (1, 2)]
    assert [run.label.rsplit(" ", 1)[1] for run in runs] == [f"({run.summary.id})" for run in runs]
