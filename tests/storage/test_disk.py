"""A full or read-only disk is named, whatever a library made of it, and no run is left `running` for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from launch.composition.explain import as_user_error
from rlhf.errors import ConfigError, Interrupted, TrainingError, UserError
from rlhf.runs import Summary, open_run, summary
from rlhf.runs.directory import make_directory
from rlhf.runs.files import writing
from rlhf.storage.disk import disk_fault

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file")


def hidden() -> BaseException:
    """As PyTorch's writer: closing the archive fails once more, over the error that tells."""
    try:
        try:
            raise FULL
        finally:
            raise RuntimeError("unexpected pos 64 vs 0")
    except RuntimeError as error:
        return error


def worded() -> BaseException:
    """As safetensors, which keeps the words and no number."""
    return RuntimeError("Error while serializing: IoError(Os { code: 28, message: 'No space left on device' })")


@pytest.mark.parametrize("error", [FULL, hidden(), worded()])
def test_a_full_disk_is_found_behind_other_errors(error: BaseException) -> None:
    assert disk_fault(error) == "no space is left on the disk"


def test_other_errors_are_none_of_the_disk() -> None:
    assert disk_fault(RuntimeError("shapes differ")) is None
    assert disk_fault(None) is None
    loop = RuntimeError("a")
    loop.__context__ = RuntimeError("b")
    loop.__context__.__context__ = loop
    assert disk_fault(loop) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_whatever_is_written_ends_in_a_sentence(number: int) -> None:
    try:
        try:
            raise OSError(number, os.strerror(number), "outputs/x")
        except OSError as error:
            raise ValueError("could not save") from error
    except ValueError as error:
        told = as_user_error(error)
    assert isinstance(told, UserError) and str(told).startswith("outputs/x: ")
    with pytest.raises(TrainingError, match="f: could not be written"), writing(Path("f")):
        raise OSError(number, os.strerror(number))
    other = ValueError("bug")
    assert as_user_error(other) is other


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"),
        (TrainingError("no space"), "failed"),
        (ValueError("x" * 10**4), "failed"),
        (Interrupted("stopped"), "interrupted"),
    ],
)
def test_no_run_is_left_running_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, status: str
) -> None:
    run = open_run(tmp_path / "run", "a" * 8, False, facts={"algo": "sft", "overrides": ["seed=1"]})

    def full(*_: Any) -> None:
        raise FULL

    monkeypatch.setattr(summary, "atomic_write_json", full)
    try:
        with run:
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    found = Summary.read(tmp_path / "run")
    assert (found.status, found.algo, found.overrides) == (status, "sft", ["seed=1"])
    assert (found.error is not None) == (status == "failed")


@pytest.mark.parametrize("name", ["a" * 300, "/proc/self/x", "file/below", "file", "nul\0"])
def test_a_directory_that_can_not_be_used_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(ConfigError) as caught:
        make_directory(Path(name).absolute())
    assert str(caught.value).startswith("hydra.run.dir: ") and len(str(caught.value)) < 400


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_directory_in_which_no_file_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir: .*run can't be written"):
        open_run(tmp_path / "run", "a" * 8, False)
