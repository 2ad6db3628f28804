from __future__ import annotations

from pathlib import Path

import pytest

from rlhf.errors import ConfigError, DataError
from rlhf.runs import Parent, State, Summary, inspect, newest_run, open_run
from rlhf.runs import directory as module

ID = "0123abcd"


def test_a_new_run_is_recorded_as_running_then_finished(tmp_path: Path) -> None:
    parent = Parent("run", tmp_path / "p", "sha", "because")
    with open_run(tmp_path / "r", ID, False, facts={"algo": "sft", "seed": 3}, parents={"model.init": parent}) as run:
        during = Summary.read(run.dir)
        assert (during.status, during.id, during.algo, during.seed) == ("running", ID, "sft", 3)
        assert during.parents["model.init"] == {
            "kind": "run",
            "directory": str(tmp_path / "p"),
            "sha256": "sha",
            "reason": "because",
        }
        assert not run.resumed and run.is_main
        assert (run.model, run.checkpoints) == (run.dir / "model", run.dir / "checkpoints")
        run.save(steps=7, final={"loss": 1.0})
    after = Summary.read(tmp_path / "r")
    assert (after.status, after.steps, after.final) == ("finished", 7, {"loss": 1.0})
    assert after.finished_at is not None and after.finished_at > after.started_at


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyboardInterrupt(), "interrupted", None),
        (DataError("f:1: bad"), "failed", "f:1: bad"),
        (ZeroDivisionError("oh"), "failed", "ZeroDivisionError: oh"),
    ],
)
def test_how_a_run_ends(tmp_path: Path, error: BaseException, status: str, told: str | None) -> None:
    with pytest.raises(type(error)), open_run(tmp_path, ID, False):
        raise error
    summary = Summary.read(tmp_path)
    assert (summary.status, summary.error, summary.finished_at) == (status, told, None)


def test_a_full_disk_does_not_hide_why_the_run_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError), open_run(tmp_path, ID, False):
        monkeypatch.setattr(Summary, "write", full)
        raise DataError("the first error")


def test_wall_time_adds_up_over_continuations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.0, 110.0, 500.0, 500.0, 505.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, ID, False):
        raise KeyboardInterrupt
    assert Summary.read(tmp_path).wall_seconds == 10
    with open_run(tmp_path, ID, True) as run:
        assert run.resumed
    summary = Summary.read(tmp_path)
    assert (summary.status, summary.wall_seconds) == ("finished", 15)


def test_an_unknown_field_is_not_saved_silently(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="no field 'step'"), open_run(tmp_path, ID, False) as run:
        run.save(step=1)


def test_children_write_nothing(tmp_path: Path) -> None:
    module.Run(tmp_path, ID, is_main=False).save(steps=3)
    assert list(tmp_path.iterdir()) == []


def test_a_run_holds_its_directory_until_it_ends(tmp_path: Path) -> None:
    with open_run(tmp_path, ID, False), pytest.raises(ConfigError, match="is in use by process"):
        open_run(tmp_path, ID, True)
    with pytest.raises(ConfigError, match="is finished; there is nothing to resume"):
        open_run(tmp_path, ID, True)


def test_logs_and_locks_do_not_make_a_directory_full(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "train.log").touch()
    assert inspect(tmp_path, ID, False) is State.NEW
    assert inspect(tmp_path / "missing", ID, False) is State.NEW
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir: .* is not empty; pass resume=true to continue there"):
        inspect(tmp_path, ID, False)
    with pytest.raises(ConfigError, match=r"nothing to resume in .*: not a run directory"):
        inspect(tmp_path, ID, True)
    assert not (tmp_path / "summary.json").exists()


def test_states_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, ID, False):
        raise KeyboardInterrupt
    assert inspect(tmp_path, ID, True) is State.RESUMABLE
    with pytest.raises(
        ConfigError, match=r"holds another experiment \(its data, or the weights it started from, are others\)"
    ):
        inspect(tmp_path, "ffffffff", True)
    with open_run(tmp_path, ID, True):
        pass
    assert inspect(tmp_path, ID, True) is State.FINISHED


def test_a_killed_run_can_be_resumed(tmp_path: Path) -> None:
    """kill -9 leaves `running` behind; the lock, which the kernel drops, tells that nobody is there."""
    Summary(status="running", id=ID).write(tmp_path)
    assert inspect(tmp_path, ID, True) is State.RESUMABLE


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for opener in (lambda p: inspect(p, ID, True), lambda p: open_run(p, ID, True)):
        with pytest.raises(ConfigError, match="file is a file"):
            opener(tmp_path / "file")


def test_the_newest_run_of_an_experiment(tmp_path: Path) -> None:
    assert newest_run(tmp_path / "nothing", ID) is None
    for name, run_id, started in (
        ("sft/a/old", ID, "2020"),
        ("multirun/t/0-x", ID, "2022"),
        ("sft/a/new", ID, "2021"),
        ("sft/a/other", "ffffffff", "2023"),
    ):
        (tmp_path / name).mkdir(parents=True)
        Summary(id=run_id, started_at=started).write(tmp_path / name)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "summary.json").write_text("{")
    assert newest_run(tmp_path, ID) == tmp_path / "multirun/t/0-x"


def test_a_run_that_failed_before_its_first_step_can_be_started_again(tmp_path: Path) -> None:
    """A newcomer fixes the data file and repeats the command: other data, so another id, in the same directory."""
    with pytest.raises(DataError), open_run(tmp_path / "run", "aaaaaaaa", resume=False):
        raise DataError("f:1: bad")
    with open_run(tmp_path / "run", "bbbbbbbb", resume=False) as run:
        assert not run.resumed
        run.metrics.write_text("step\n1\n")
    with pytest.raises(ConfigError, match="is not empty"):
        open_run(tmp_path / "run", "bbbbbbbb", resume=False)
