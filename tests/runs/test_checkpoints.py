"""Checkpoint files on disk: which stay, which are trusted."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf.runs.checkpoints import (
    checkpoint_path,
    checkpoints,
    fault_of,
    newest_whole,
    other_names,
    prune,
    read_checkpoint,
    set_aside,
    step_of,
    write_checkpoint,
)


def steps(directory: Path) -> list[int]:
    return [step_of(path) for path in checkpoints(directory)]


def written(directory: Path, *numbers: int) -> Path:
    for number in numbers:
        write_checkpoint(checkpoint_path(directory, number), {"step": number, "weights": torch.full((5000,), number)})
    return directory


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (path,) = checkpoints(tmp_path)
    state = read_checkpoint(path)
    assert (path.name, step_of(path), state["step"]) == ("step-00000003.ckpt", 3, 3)
    assert torch.equal(state["weights"], torch.full((5000,), 3))
    assert fault_of(path) is None
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"newest": 2}, [10, 12]),
        ({"newest": 2, "every": 4}, [4, 8, 10, 12]),
        ({"newest": 1, "best": 6}, [6, 12]),
        ({"newest": 1, "best": 5}, [12]),
        ({"newest": 9}, [2, 4, 6, 8, 10, 12]),
    ],
)
def test_what_is_kept(tmp_path: Path, rule: dict[str, Any], kept: list[int]) -> None:
    written(tmp_path, *range(2, 13, 2))
    prune(tmp_path, **rule)
    assert steps(tmp_path) == kept


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    """In the middle of the weights: the archive's own directory is untouched, and the file opens."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_step(path: Path) -> None:
    write_checkpoint(path, {"step": 4000, "weights": torch.zeros(1)})


def without_a_step(path: Path) -> None:
    write_checkpoint(path, {"weights": torch.zeros(1)})


def no_state(path: Path) -> None:
    write_checkpoint(path, [1])  # type: ignore[arg-type]


def a_program(path: Path) -> None:
    torch.save({"step": step_of(path), "run": Path.unlink}, path)


def a_plain_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


def a_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        flip_a_bit,
        empty,
        of_another_step,
        without_a_step,
        no_state,
        a_program,
        a_plain_zip,
        a_bomb,
        a_link,
    ],
)
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: Any) -> None:
    written(tmp_path, 2, 4, 6)
    last = checkpoints(tmp_path)[-1]
    damage(last)
    found, broken = newest_whole(tmp_path)
    assert found is not None and step_of(found) == 4
    assert list(broken) == [last] and broken[last]


def test_a_pipe_is_no_checkpoint_and_not_waited_for(tmp_path: Path) -> None:
    written(tmp_path, 2, 4)
    a_pipe(checkpoints(tmp_path)[-1])
    assert newest_whole(tmp_path) == (checkpoint_path(tmp_path, 2), {})


@pytest.mark.parametrize(
    "name", ["step-x.ckpt", "step-5.ckpt", "last.ckpt", "step-00000009 (copy).ckpt", "step-１２３４５６７８.ckpt"]
)
def test_other_names_are_no_checkpoints(tmp_path: Path, name: str) -> None:
    written(tmp_path, 2)
    other = tmp_path / "checkpoints" / name
    other.write_bytes(checkpoint_path(tmp_path, 2).read_bytes())
    assert newest_whole(tmp_path) == (checkpoint_path(tmp_path, 2), {})
    assert other_names(tmp_path) == [other]
    prune(tmp_path, 1)
    set_aside(tmp_path, 1)
    assert other.exists()


def test_what_comes_after_the_end_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path, 2, 4)
    found, broken = newest_whole(tmp_path, limit=3)
    assert found == checkpoint_path(tmp_path, 2) and list(broken) == [checkpoint_path(tmp_path, 4)]


def test_where_all_are_damaged_there_is_none(tmp_path: Path) -> None:
    written(tmp_path, 2, 4)
    for path in checkpoints(tmp_path):
        empty(path)
    found, broken = newest_whole(tmp_path)
    assert found is None and len(broken) == 2


def test_what_cannot_be_continued_is_set_aside(tmp_path: Path) -> None:
    written(tmp_path, 2, 4, 6)
    (tmp_path / "checkpoints" / "step-00000008.part").touch()
    set_aside(tmp_path, 4)
    assert steps(tmp_path) == [2, 4]
    assert sorted(p.suffix for p in (tmp_path / "checkpoints").iterdir()) == [".broken", ".ckpt", ".ckpt"]


def test_a_writer_that_fails_leaves_the_old_one_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, 2)
    (path,) = checkpoints(tmp_path)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(path, {"step": 2})
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
