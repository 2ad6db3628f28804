"""Runs, sweeps, resuming, help: what the program does when nothing is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from launch.composition.compose import options
from launch.planner import Planner
from rlhf.config import TrainConfig
from rlhf.runs import Summary

Main = Callable[[str], int]
ROOT = Path(__file__).parents[2]
STAMP = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"


def test_a_run_has_its_directory_its_configuration_and_its_summary(main: Main, stage: Any, tmp_path: Path) -> None:
    assert main("algo=dpo algo.beta=0.5 logger=csv") == 0
    config, run, overrides = stage.calls[0]
    assert isinstance(config, TrainConfig)
    assert overrides == ["algo=dpo", "algo.beta=0.5", "logger=csv"]
    relative = run.dir.relative_to(tmp_path).as_posix()
    assert re.fullmatch(rf"outputs/dpo/tiny-assistant/{STAMP}-{run.id}", relative)
    written = yaml.safe_load((run.dir / "config.yaml").read_text())
    assert written["algo"]["beta"] == 0.5 and written["algo"]["name"] == "dpo" and "hydra" not in written
    summary = Summary.read(run.dir)
    assert (summary.status, summary.id, summary.algo, summary.model, summary.data) == (
        ("finished", run.id, "dpo", "tiny", "assistant")
    )
    assert summary.overrides == overrides and summary.seed == 1
    assert summary.parents["model.init"]["kind"] == "random"
    assert sorted(path.name for path in run.dir.iterdir()) == [
        ".lock",
        "config.yaml",
        "model",
        "summary.json",
        "train.log",
    ]
    assert f"INFO launch: run {run.dir}" in (run.dir / "train.log").read_text()


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a configuration was composed, and a point planned."""
    counted: Counter[str] = Counter()
    for owner, name in ((ConfigLoaderImpl, "load_configuration"), (Planner, "plan")):
        right = getattr(owner, name)

        def counting(self: Any, *args: Any, _name: str = name, _right: Any = right, **kwargs: Any) -> Any:
            counted[_name] += 1
            return _right(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, counting)
    return counted


@pytest.mark.parametrize("where", ["", " hydra.run.dir=here"])
def test_a_run_is_composed_once_and_planned_once(main: Main, stage: Any, count: Counter[str], where: str) -> None:
    assert main(f"algo=dpo logger=csv{where}") == 0
    assert len(stage.calls) == 1
    assert count == {"load_configuration": 1, "plan": 1}


def test_stages_find_their_parents(main: Main, stage: Any) -> None:
    for algo in ("pretrain", "sft", "reward", "ppo"):
        assert main(f"algo={algo}") == 0
    pretrain, sft, reward, ppo = (run for _, run, _ in stage.calls)
    assert sft.parents["model.init"].dir == pretrain.dir
    assert reward.parents["model.init"].dir == ppo.parents["model.init"].dir == sft.dir
    assert ppo.parents["algo.reward_model"].dir == reward.dir
    assert Summary.read(ppo.dir).parents["algo.reward_model"]["directory"] == str(reward.dir)


def test_a_given_directory(main: Main, stage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("hydra.run.dir=here") == 0
    assert stage.calls[0][1].dir == tmp_path / "here"
    capsys.readouterr()
    assert main("hydra.run.dir=here") == 2
    assert "is not empty; pass resume=true" in capsys.readouterr().err
    assert main("hydra.run.dir=here resume=true seed=2") == 2
    assert "here holds another experiment (seed differs); pass the configuration" in capsys.readouterr().err
    assert main("hydra.run.dir=here resume=true") == 0
    assert "here is finished; nothing to do" in capsys.readouterr().out
    assert len(stage.calls) == 1


def test_a_directory_with_an_awkward_name(main: Main, stage: Any, tmp_path: Path) -> None:
    from launch.app import Program
    from launch.processes import quoted

    name = "it's a=b, [c] {d} \\ 名"
    assert Program("train", stage).main([f"hydra.run.dir={quoted(name)}"]) == 0
    assert stage.calls[0][1].dir == tmp_path / name


def test_resume_continues_the_same_experiment_only(main: Main, stage: Any) -> None:
    stage.errors[1] = KeyboardInterrupt()
    assert main("resume=true") == 130, "where there is nothing to resume, it starts"
    stage.errors.clear()
    assert main("resume=true seed=2") == 0
    assert main("resume=true logger=csv callbacks=minimal") == 0
    first, other, continued = (run for _, run, _ in stage.calls)
    assert (first.resumed, other.resumed, continued.resumed) == (False, False, True)
    assert continued.dir == first.dir != other.dir
    assert main("resume=true") == 0
    assert len(stage.calls) == 3, "a finished run is not done again"


def test_a_continued_run_keeps_the_parents_it_started_from(main: Main, stage: Any, tmp_path: Path) -> None:
    assert main("algo=sft hydra.run.dir=outputs/sft-1") == 0
    stage.errors[5] = KeyboardInterrupt()
    assert main("algo=dpo seed=5 hydra.run.dir=dpo") == 130
    assert main("algo=sft seed=2 hydra.run.dir=outputs/sft-2") == 0
    stage.errors.clear()
    assert main("algo=dpo seed=5 hydra.run.dir=dpo resume=true") == 0
    assert stage.calls[-1][1].parents["model.init"].dir == tmp_path / "outputs" / "sft-1"
    assert main("algo=dpo seed=6 hydra.run.dir=dpo-2") == 0
    assert stage.calls[-1][1].parents["model.init"].dir == tmp_path / "outputs" / "sft-2"


def test_data_counts_by_content(main: Main, stage: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("1")
    (tmp_path / "b.jsonl").write_text("1")
    (tmp_path / "c.jsonl").write_text("2")
    for name in "abc":
        assert main(f"data=jsonl data.path={name}.jsonl") == 0
    ids = [run.id for _, run, _ in stage.calls]
    assert ids[0] == ids[1] != ids[2]


def test_a_sweep_makes_every_combination(main: Main, stage: Any, tmp_path: Path) -> None:
    assert main("-m algo=sft,dpo seed=1,2") == 0
    assert [(config.algo.name, config.seed) for config, _, _ in stage.calls] == [
        ("sft", 1), ("sft", 2), ("dpo", 1), ("dpo", 2),
    ]  # fmt: skip
    (sweep,) = (tmp_path / "outputs" / "multirun").iterdir()
    assert re.fullmatch(STAMP, sweep.name)
    for number, (_, run, overrides) in enumerate(stage.calls):
        assert run.dir == sweep / f"{number}-{run.id}"
        assert Summary.read(run.dir).overrides == overrides
    assert len({run.id for _, run, _ in stage.calls}) == 4


def test_a_sweep_resolves_auto_once(main: Main, stage: Any) -> None:
    """Points are planned together, so the sft point does not become the parent of the dpo point."""
    assert main("-m algo=sft,dpo") == 0
    assert [run.parents["model.init"].kind for _, run, _ in stage.calls] == ["random", "random"]
    assert main("algo=dpo") == 0
    assert stage.calls[-1][1].parents["model.init"].dir == stage.calls[0][1].dir


def test_a_sweep_is_resumed_in_place(main: Main, stage: Any, tmp_path: Path) -> None:
    stage.errors[2] = KeyboardInterrupt()
    assert main("-m seed=1,2") == 130
    stage.errors.clear()
    assert main("-m seed=1,2 resume=true") == 0
    assert stage.seeds == [1, 2, 2], "the finished point is not done again"
    assert [run.resumed for _, run, _ in stage.calls] == [False, False, True]
    (sweep,) = (tmp_path / "outputs" / "multirun").iterdir()
    assert {run.dir.parent for _, run, _ in stage.calls} == {sweep}


def test_a_sweep_continues_single_runs_too(main: Main, stage: Any) -> None:
    stage.errors[2] = KeyboardInterrupt()
    assert main("seed=2") == 130
    stage.errors.clear()
    assert main("-m seed=1,2 resume=true") == 0
    assert stage.calls[2][1].dir == stage.calls[0][1].dir
    assert stage.calls[2][1].resumed


def test_what_children_of_a_point_would_run(main: Main, stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning repeats `sys.argv` for its processes: it must be this point, and find this directory."""
    seen: list[tuple[list[str], str]] = []

    def within() -> None:
        assert "LOCAL_RANK" not in os.environ, "of the point before"
        # As Lightning does, which takes processes for started already where it finds this.
        monkeypatch.setenv("LOCAL_RANK", "0")
        seen.append((sys.argv[1:], os.environ["RLHF_RUN_DIR"]))

    stage.within = within
    before = sys.argv[:]
    assert main("-m seed=1,2 train.max_steps=3") == 0
    assert [argv for argv, _ in seen] == [["train", f"seed={seed}", "train.max_steps=3"] for seed in (1, 2)]
    assert [Path(directory) for _, directory in seen] == [run.dir for _, run, _ in stage.calls]
    assert sys.argv == before and not {"RLHF_RUN_DIR", "LOCAL_RANK"} & set(os.environ)


def test_a_child_joins_the_run_of_its_parent(
    main: Main, stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main("algo=sft") == 0
    stage.errors[1] = KeyboardInterrupt()
    assert main("algo=dpo") == 130
    stage.errors.clear()
    parent = stage.calls[-1][1]
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RLHF_RUN_DIR", str(parent.dir))
    # What Lightning adds under a sweep is the wrong directory; see launch/processes.py.
    assert main("algo=dpo hydra.run.dir=wrong hydra.job.name=train_ddp_process_1") == 0
    joiner = stage.calls[-1][1]
    assert joiner.dir == parent.dir and not joiner.is_main
    assert joiner.parents["model.init"].dir == stage.calls[0][1].dir
    assert not (tmp_path / "wrong").exists()
    assert Summary.read(parent.dir).status == "interrupted", "only the first process writes"


def test_processes_of_torchrun_need_a_directory(
    main: Main, stage: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert main("seed=1") == 2
    assert "hydra.run.dir: missing; processes that torchrun or srun start" in capsys.readouterr().err
    assert main("-m seed=1,2") == 2
    assert "run it without torchrun or srun" in capsys.readouterr().err


def test_processes_of_torchrun_join_the_run_of_the_first(
    main: Main, stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All start at once: a process that is not the first waits for the run that the first opens, with its parents."""
    monkeypatch.setattr("launch.processes.PATIENCE", 0.0)
    monkeypatch.setenv("RANK", "1")
    assert main("algo=dpo hydra.run.dir=shared") == 2
    assert "shared within 0 minutes; all nodes must see the same folder" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    stage.errors[1] = KeyboardInterrupt()
    assert main("algo=dpo hydra.run.dir=shared") == 130
    monkeypatch.setenv("RANK", "1")
    assert main("algo=dpo hydra.run.dir=shared resume=true") == 2, "one that stopped is not one that runs"
    summary = Summary.read(tmp_path / "shared")
    summary.status = "running"
    summary.write(tmp_path / "shared")
    stage.errors.clear()
    assert main("algo=sft hydra.run.dir=outputs/sft") == 2, "and is not the first of any"
    assert main("algo=dpo hydra.run.dir=shared") == 0
    joiner = stage.calls[-1][1]
    assert not joiner.is_main and joiner.id == summary.id and (tmp_path / "shared" / "rank_1.log").exists()
    capsys.readouterr()
    assert main("algo=dpo algo.beta=0.7 hydra.run.dir=shared") == 2
    assert "the first process runs another experiment in" in capsys.readouterr().err
    summary.status = "finished"
    summary.write(tmp_path / "shared")
    n = len(stage.calls)
    assert main("algo=dpo hydra.run.dir=shared resume=true") == 0 and len(stage.calls) == n


def test_help_shows_groups_and_keys_as_the_overrides_set_them(
    main: Main, stage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("--help algo=ppo algo.kl_coef=0.25") == 0
    text = capsys.readouterr().out
    assert "Pretend to train." in text
    assert f"  algo       {' '.join(options()['algo'])}\n" in text
    assert re.search(r"^  kl_coef: 0\.25 +# weight of KL.policy ‖ reference. \[score/nat, ≥ 0\]$", text, re.M)
    assert "Ziegler et al. 2019" in text
    keys = yaml.safe_load(text.split("Keys, as these overrides set them:")[1])
    assert keys["algo"]["kl_coef"] == 0.25 and keys["train"]["max_steps"] == 100
    assert keys["algo"]["adam_eps"] == 1e-8, "numbers stay numbers"
    assert stage.calls == []


def test_cfg_job_prints_what_hydra_composes(main: Main, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main("--cfg job algo=dpo") == 0
    assert yaml.safe_load(capsys.readouterr().out)["algo"]["name"] == "dpo"
    assert list(tmp_path.iterdir()) == []
    assert main("-m --cfg job seed=1,2") == 2
    assert capsys.readouterr().err == "--cfg, --info: show one run; leave -m out, and give each key one value\n"


def test_options_of_ones_own_folder(main: Main, stage: Any, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "x.yaml").write_text("# @package _global_\nseed: 77\n")
    assert main("--config-dir mine experiment=x") == 0
    assert stage.seeds == [77]


def test_the_script_answers_from_anywhere(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=True)
    assert done.stdout.startswith("Train one stage") and done.stderr == ""
    assert json.dumps(os.listdir(tmp_path)) == "[]"


@pytest.mark.parametrize("flags", ["--help", "--cfg job"])
def test_a_reader_that_leaves_is_no_error(flags: str, tmp_path: Path) -> None:
    """As in `python train.py --help | head`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(ROOT / "train.py"), *flags.split()]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=300)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_sweep_over_several_processes(tmp_path: Path) -> None:
    """Each point starts two processes of its own, and both find the point's directory."""
    line = "-m seed=1,2 strategy=ddp strategy.accelerator=cpu strategy.devices=2 strategy.threads=1 train.max_steps=1"
    command = [sys.executable, str(ROOT / "train.py"), *line.split(), "logger=csv", "callbacks=minimal"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    runs = sorted(tmp_path.glob("outputs/multirun/*/*/summary.json"))
    assert [Summary.read(path.parent).status for path in runs] == ["finished", "finished"]
    assert all((path.parent / "train_ddp_process_1.log").exists() for path in runs)
    assert list((tmp_path / "outputs").iterdir()) == [tmp_path / "outputs" / "multirun"]
