"""Sentences and exit codes, as the whole program gives them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf.errors import DataError

Main = Callable[[str], int]
Told = Callable[[], str]
ROOT = Path(__file__).parents[2]

REFUSED = [
    ("algo=ppo algo.kl_coeff=1", "algo.kl_coeff: unknown key; did you mean algo.kl_coef?"),
    ("algo.kl_coeff=1", "algo.kl_coeff: unknown key; did you mean algo.kl_coef?"),
    ("algo.beta=0.2", "algo.beta: unknown key with algo=sft; it belongs to algo="),
    ("train.max_step=3", "train.max_step: unknown key; did you mean train.max_steps?"),
    ("batch_size=3", "batch_size: unknown key; did you mean train.batch_size?"),
    ("modell=gpt2", "modell: unknown key; did you mean model?"),
    ("+algo.lrr=1", "algo.lrr: unknown key; did you mean algo.lr?"),
    ("+zzz=1", "zzz: unknown key; --help lists all keys"),
    ("model=gpt3", "model=gpt3: no such option; model is one of gpt2, gpt2-large"),
    ("strategy=deepspeed", "strategy=deepspeed: not supported"),
    ("+experiment=smal", "experiment=smal: no such option; experiment is one of"),
    ("algo=null", "algo=null: no such option; algo is one of "),
    ("~algo", "~algo: the group algo can't be left out"),
    ("algo.lr=abc", "algo.lr=abc: not a number"),
    ("train.batch_size=1.5", "train.batch_size=1.5: not a whole number"),
    ("resume=maybe", "resume=maybe: not true or false"),
    ("seed=null", "seed=null: not a whole number"),
    ("algo=ppo algo.kl_coef=-1", "algo.kl_coef: -1 is out of range, must be ≥ 0"),
    ("algo.lr=1,2", "algo.lr=1,2: several values make a sweep, which needs -m"),
    ("algo.lr=(a", "algo.lr=(a: can't be read; put a value that holds spaces, commas, brackets or '='"),
    ("train", "train: not an override; write key=value"),
    ("data=jsonl", "data.path: missing; data=jsonl needs data.path=FILE"),
    ("data=jsonl data.path=nothing.jsonl", "data.path: nothing.jsonl does not exist"),
    ("model.architecture.n_inner=3", "model.architecture.n_inner: not among the sizes of this model; add it with +"),
    ("model.init=nowhere", "model.init: nowhere does not exist; pass auto, pretrained, random"),
    ("algo=ppo", "algo.reward_model: auto found no finished reward run"),
    ("--foo", "unrecognized arguments: --foo; --help shows"),
    ("--experimental-rerun x.pickle", "--experimental-rerun: refused, since it unpickles a file"),
    ("--cfg job algo=x", "algo=x: no such option; algo is one of"),
    ("--help algo.lr=x", "algo.lr=x: not a number"),
    ("-m seed=1,2 algo.lr=-1", "algo.lr: -1 is out of range"),
    ("-m algo.lr=interval(0,1)", "--multirun: BasicSweeper does not support sweep type : INTERVAL_SWEEP; list"),
    ("-m algo.lr=(a", "algo.lr=(a: can't be read"),
    ("--config-dir nowhere", "--config-dir: nowhere is not a folder"),
    ("--config-name other", "--config-path, --config-name: refused"),
    ("hydra.runn.dir=x", "hydra.runn: Hydra has no such key"),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED, ids=[line for line, _ in REFUSED])
def test_refusals(main: Main, told: Told, stage: Any, tmp_path: Path, line: str, sentence: str) -> None:
    assert main(line) == 2
    text = told()
    assert text.startswith(sentence)
    assert "\n" not in text, "one line"
    assert stage.calls == [] and list(tmp_path.iterdir()) == [], "nothing ran, nothing was written"


def test_one_bad_point_stops_a_sweep_before_its_first(main: Main, told: Told, stage: Any, tmp_path: Path) -> None:
    assert main("-m algo.lr=1e-4,1e-3,7") == 2
    assert told() == "algo.lr: 7 is out of range, must be > 0, ≤ 1"
    assert stage.calls == [] and list(tmp_path.iterdir()) == []


def test_full_errors_are_there_for_the_asking(main: Main, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main("algo.lr=abc") == 2
    text = told()
    assert "Traceback" in text and "ConfigError: algo.lr=abc: not a number" in text


def test_an_error_of_the_user_found_while_training(main: Main, told: Told, stage: Any, tmp_path: Path) -> None:
    stage.errors[5] = DataError("f.jsonl:3: not JSON")
    assert main("seed=5 hydra.run.dir=run") == 2
    assert told() == "f.jsonl:3: not JSON"
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"
    assert "ERROR launch: f.jsonl:3: not JSON" in (tmp_path / "run" / "train.log").read_text()


def test_an_error_of_ours(main: Main, told: Told, stage: Any, tmp_path: Path) -> None:
    stage.errors[5] = ZeroDivisionError("oh")
    assert main("seed=5 hydra.run.dir=run") == 1
    text = told()
    assert "Traceback" in text and text.endswith("ZeroDivisionError: oh")
    assert "Traceback" in (tmp_path / "run" / "train.log").read_text()


def test_control_c(main: Main, told: Told, stage: Any, tmp_path: Path) -> None:
    stage.errors[5] = KeyboardInterrupt()
    assert main("seed=5 hydra.run.dir=run") == 130
    assert told() == "interrupted; the same command with resume=true continues"
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"


def test_a_sweep_goes_on_after_a_bad_point_and_names_it(main: Main, told: Told, stage: Any) -> None:
    stage.errors[1] = DataError("f.jsonl:3: not JSON")
    assert main("-m seed=1,2") == 2
    assert told() == "point 0 (seed=1): f.jsonl:3: not JSON"
    assert stage.seeds == [1, 2]


def test_the_script_itself_refuses_without_loading_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "train.py"), "algo.kl_coeff=1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert (done.returncode, said) == (2, ["algo.kl_coeff: unknown key; did you mean algo.kl_coef?"])
    assert "omegaconf" in imported
    assert not imported & {"torch", "transformers", "lightning", "wandb", "datasets", "pyarrow", "tokenizers"}
