"""Sweeps whose points run in other processes keep the promises that a sweep in this process makes."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf.runs import Summary

pytestmark = pytest.mark.ci

ROOT = Path(__file__).parents[2]
Main = Callable[[str], int]

PRETENDS = f"""
import os, signal, sys, time
sys.argv.pop(1)
sys.path.insert(0, {str(ROOT)!r})
from launch.app import Program
from rlhf.errors import DataError

def train(config, run, overrides):
    "Pretend to train."
    print("pretending", os.environ.get("OMP_NUM_THREADS"), flush=True)
    if os.path.exists("wait"):
        print("ready", flush=True)
        while True:
            time.sleep(0.02)
    if config.seed == 2 and not os.path.exists("fixed"):
        raise DataError("data.jsonl:3: no such thing")
    if config.seed == 3:
        raise ZeroDivisionError("a bug")
    if config.seed == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    run.model.mkdir()
    (run.model / "model.safetensors").write_text(str(run.dir))
    (run.model / "config.json").write_text('{{"architectures": ["GPT2LMHeadModel"]}}')
    run.save(steps=run.summary.steps + 1, final={{"val/loss": config.seed / 2}})
    return config.seed / 2

if __name__ == "__main__":
    Program("train", train)()
"""


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points run a script that doesn't need torch."""
    pytest.importorskip("joblib", reason="joblib is not installed")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "command.py").write_text(PRETENDS)
    monkeypatch.setattr("launch.processes.COMMAND", tmp_path / "scripts" / "command.py")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def summaries(tmp_path: Path) -> list[Summary]:
    return [Summary.read(file.parent) for file in sorted(tmp_path.glob("outputs/multirun/*/*/summary.json"))]


@pytest.mark.usefixtures("pretend")
def test_points_run_in_directories_that_the_sweep_chose(main: Main, stage: Any, tmp_path: Path) -> None:
    assert main("-m hydra/launcher=joblib hydra.launcher.n_jobs=2 hydra.launcher.threads=3 seed=5,6 logger=csv") == 0
    assert stage.calls == [], "not in this process"
    (sweep,) = (tmp_path / "outputs" / "multirun").iterdir()
    runs = sorted(path for path in sweep.iterdir() if path.is_dir())
    assert [path.name.split("-")[0] for path in runs] == ["0", "1"]
    for path, seed in zip(runs, (5, 6), strict=True):
        summary = Summary.read(path)
        assert (summary.status, summary.seed, path.name) == ("finished", seed, f"{path.name[0]}-{summary.id}")
        assert summary.overrides == [f"seed={seed}", "logger=csv"]
        assert "pretending 3" in (path / "console.log").read_text()


@pytest.mark.usefixtures("pretend")
def test_a_preset_that_makes_a_sweep_makes_one(main: Main, tmp_path: Path) -> None:
    """The preset's own `hydra.mode` is part of every point's configuration."""
    assert main("-m experiment=beta-sweep algo.beta=0.1,0.3 seed=5 hydra/launcher=joblib logger=csv") == 0
    (sweep,) = (tmp_path / "outputs" / "multirun").iterdir()
    assert [summary.status for summary in summaries(tmp_path)] == ["finished", "finished"]
    assert all((path.parent / "console.log").exists() for path in sweep.glob("*/summary.json"))


@pytest.mark.usefixtures("pretend")
def test_failures_are_told_at_the_end_and_stop_nobody(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("-m hydra/launcher=joblib hydra.launcher.n_jobs=2 seed=2,3,4,5 logger=csv") == 1
    assert [summary.status for summary in summaries(tmp_path)] == ["failed", "failed", "running", "finished"]
    told = capsys.readouterr().err
    assert "point 0 (seed=2): data.jsonl:3: no such thing\n" in told
    assert "point 1 (seed=3):\nTraceback" in told and "ZeroDivisionError: a bug" in told
    assert "point 2 (seed=4): ended by SIGKILL, perhaps because the machine's memory was full" in told
    assert "seed=5" not in told


@pytest.mark.usefixtures("pretend")
def test_a_failure_that_the_user_can_mend_is_2(main: Main, tmp_path: Path) -> None:
    assert main("-m hydra/launcher=joblib seed=2,5") == 2
    (tmp_path / "fixed").touch()
    assert main("-m hydra/launcher=joblib seed=2,5 resume=true") == 0, "what failed is tried again"
    assert [(summary.status, summary.steps) for summary in summaries(tmp_path)] == [("finished", 1), ("finished", 1)]


@pytest.mark.usefixtures("pretend")
def test_auto_means_one_thing_for_the_whole_sweep(main: Main, tmp_path: Path) -> None:
    """With one process at a time the sft point is finished before the dpo point starts, and must not be its parent."""
    assert main("-m hydra/launcher=joblib hydra.launcher.n_jobs=1 algo=sft,dpo") == 0
    parents = [summary.parents["model.init"] for summary in summaries(tmp_path)]
    assert [parent["kind"] for parent in parents] == ["random", "random"]
    assert "model.init=auto: random weights, since there is no finished sft run" in parents[1]["reason"]
    assert main("-m hydra/launcher=joblib algo=dpo seed=7,8") == 0
    assert [summary.parents["model.init"]["kind"] for summary in summaries(tmp_path)[2:]] == ["run", "run"]


@pytest.mark.usefixtures("pretend")
def test_all_points_are_checked_before_the_first_one_runs(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("-m hydra/launcher=joblib algo.lr=1e-3,-1") == 2
    assert "algo.lr: -1 is out of range" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.usefixtures("pretend")
def test_a_directory_that_is_taken_fails_its_point_alone(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "-m hydra/launcher=joblib hydra.sweep.dir=here hydra.sweep.subdir=${seed} seed=5,6"
    (tmp_path / "here" / "5").mkdir(parents=True)
    (tmp_path / "here" / "5" / "thesis.txt").touch()
    assert main(line) == 2
    assert "point 0 (seed=5): hydra.run.dir:" in capsys.readouterr().err
    assert Summary.read(tmp_path / "here" / "6").status == "finished"


@pytest.mark.usefixtures("pretend")
def test_ctrl_c_reaches_the_points(tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    body = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        import launch.processes
        launch.processes.COMMAND = Path("scripts", "command.py").absolute()
        sys.argv = ["train.py", *"-m hydra/launcher=joblib hydra.launcher.n_jobs=1 seed=5,6".split()]
        from train import train
        train()
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(body)], cwd=tmp_path, stderr=subprocess.PIPE) as sweep:
        for _ in range(6000):
            if any("ready" in file.read_text() for file in tmp_path.glob("outputs/multirun/*/*/console.log")):
                break
            threading.Event().wait(0.01)
        os.kill(sweep.pid, signal.SIGINT)
        _, told = sweep.communicate(timeout=60)
    assert sweep.returncode == 130 and b"the same command with resume=true continues" in told
    assert [summary.status for summary in summaries(tmp_path)] == ["interrupted"], "and the second is not started"


def test_a_missing_package_is_named(main: Main, monkeypatch: pytest.MonkeyPatch, told: Callable[[], str]) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    assert main("-m hydra/launcher=joblib seed=1,2") == 2
    assert told() == "hydra/launcher: joblib needs the package joblib; pip install 'rlhf-lab[joblib]'"


def test_a_job_that_must_make_room_goes_on_by_itself(tmp_path: Path) -> None:
    """submitit tells a job by SIGUSR2; its run hears SIGUSR1, saves itself, and is started again with resume=true."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    from launch.sweeps.backends import Submitit
    from launch.sweeps.point_processes import Command

    job = tmp_path / "job"
    body = f"""
        import os, signal, sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from launch.sweeps.messages import Handover
        handed = Handover.take()
        if sys.argv[1:] == ["seed=1", "resume=true"]:
            handed.tell(0, "", 7)
            sys.exit(0)
        stopped = []
        signal.signal(signal.SIGUSR1, lambda number, frame: stopped.append(number))
        with open({str(job)!r} + ".part", "w") as stream:
            stream.write(str(os.getppid()))
        os.rename({str(job)!r} + ".part", {str(job)!r})
        while not stopped:
            time.sleep(0.02)
        sys.exit(75)
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(body))

    def make_room() -> None:
        for _ in range(6000):
            if job.exists():
                os.kill(int(job.read_text()), signal.SIGUSR2)
                return
            threading.Event().wait(0.01)

    command = Command(
        3, [sys.executable, str(tmp_path / "program.py"), "seed=1"], str(tmp_path), {}, str(tmp_path / "log")
    )
    backend = Submitit("local", str(tmp_path / "jobs" / "%j"), 0, {"timeout_min": 60})
    thread = threading.Thread(target=make_room)
    thread.start()
    ((number, ending),) = backend([command])
    thread.join()
    assert (number, ending["code"], ending["value"]) == (3, 0, 7)


TINY = (
    "algo=sft model.init=random train.max_steps=2 train.batch_size=4 data.limit=200 strategy.threads=1 logger=csv "
    "callbacks=minimal"
)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_every_launcher_trains_what_the_local_one_trains(tmp_path: Path, launcher: str) -> None:
    package = launcher.removesuffix("_local")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed; pip install 'rlhf-lab[{package}]'")

    def sweep(name: str) -> list[str | None]:
        command = [sys.executable, str(ROOT / "train.py"), "-m", f"hydra/launcher={name}", f"hydra.sweep.dir={name}"]
        command += ["seed=1,2", *TINY.split()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return [Summary.read(file.parent).model_sha256 for file in sorted((tmp_path / name).glob("*/summary.json"))]

    weights = sweep("local")
    assert len(set(weights)) == 2 and None not in weights
    assert sweep(launcher) == weights


@pytest.mark.slow
def test_a_point_may_have_processes_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("joblib", reason="joblib is not installed")
    command = [sys.executable, str(ROOT / "train.py"), "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1"]
    command += ["seed=1", "strategy=ddp", "strategy.accelerator=cpu", "strategy.devices=2", *TINY.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert [summary.status for summary in summaries(tmp_path)] == ["finished"]
    assert len(list(tmp_path.glob("outputs/multirun/*/*/train_ddp_process_1.log"))) == 1
