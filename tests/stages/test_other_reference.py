"""`algo.reference_model`: KL counted from another model than the one that the run starts from."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from statistics import fmean

import pytest
from safetensors.torch import load_file

from lightning_modules.preference.reference import CACHE
from rlhf.runs import Summary
from tests.stages.conftest import Main

pytestmark = pytest.mark.ci

PPO = "algo=ppo algo.reward_model=rm algo.samples_per_prompt=4 train.max_steps=2 train.val_every=1"


@pytest.fixture
def runs(main: Main) -> Main:
    """Two policies, `one` and `two`, and a reward model."""
    assert main("algo=sft model.init=random hydra.run.dir=one") == 0
    assert main("algo=sft model.init=random seed=2 hydra.run.dir=two") == 0
    assert main("algo=reward model.init=one train.max_steps=2 hydra.run.dir=rm") == 0
    return main


def rows(run: str) -> list[dict[str, str]]:
    with Path(run, "metrics.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def without_times(run: str) -> list[dict[str, str]]:
    slow = ("time/", "train/seconds", "tokens_per_second")
    return [{k: v for k, v in row.items() if not any(word in k for word in slow)} for row in rows(run)]


def test_what_dpo_stores_is_what_the_other_model_says(runs: Main) -> None:
    assert runs("algo=dpo model.init=one algo.reference_model=two hydra.run.dir=mixed") == 0
    shutil.rmtree(CACHE)
    assert runs("algo=dpo model.init=two hydra.run.dir=own") == 0
    mixed, own = (load_file(Path(run, "checkpoints", "reference.safetensors")) for run in ("mixed", "own"))
    assert mixed.keys() == own.keys() and all(mixed[name].equal(own[name]) for name in own)
    assert Summary.read(Path("mixed")).parents["algo.reference_model"]["directory"] == str(Path("two").absolute())
    samples = [json.loads(line) for line in Path("mixed", "samples.jsonl").read_text("utf-8").splitlines()]
    assert abs(fmean(sample["kl"] for sample in samples if sample["step"] == 0)) > 0.1


def test_ppo_counts_kl_from_it(runs: Main) -> None:
    for name, more in (("same", "model.init=one algo.reference_model=one"), ("usual", "model.init=one")):
        assert runs(f"{PPO} {more} hydra.run.dir={name}") == 0
    assert without_times("same") == without_times("usual"), "bit for bit"
    assert runs(f"{PPO} model.init=one algo.reference_model=two hydra.run.dir=mixed") == 0
    assert float(rows("usual")[0]["val/kl"]) == pytest.approx(0, abs=1e-4)
    assert abs(float(rows("mixed")[0]["val/kl"])) > 0.1
    assert len({Summary.read(Path(name)).id for name in ("same", "usual", "mixed")}) == 3


def test_with_adapters_it_has_a_backbone_of_its_own(runs: Main) -> None:
    lora = "model.adapter=lora model.lora_r=2"
    assert runs(f"{PPO} {lora} model.init=one hydra.run.dir=shared") == 0
    assert runs(f"{PPO} {lora} model.init=one algo.reference_model=one hydra.run.dir=own") == 0
    kls = [[float(row["val/kl"]) for row in rows(run) if row.get("val/kl")] for run in ("shared", "own")]
    assert kls[0] == pytest.approx(kls[1], abs=1e-4)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("algo=ppo algo.reference=false algo.kl_coef=0 algo.reference_model=one", "algo.reference_model: one"),
        ("algo=dpo model.init=random algo.reference_model=nowhere", "algo.reference_model: nowhere does not exist"),
    ],
)
def test_refusals(main: Main, capsys: pytest.CaptureFixture[str], line: str, key: str) -> None:
    assert main(line) == 2
    assert capsys.readouterr().err.startswith(key)
