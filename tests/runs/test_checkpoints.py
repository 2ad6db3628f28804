"""Checkpoint files on disk: which stay, which are trusted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf.runs.checkpoints import (
    checkpoint_path,
    checkpoints,
    fault_of,
    newest_whole,
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


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, empty])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: Any) -> None:
    written(tmp_path, 2, 4, 6)
    last = checkpoints(tmp_path)[-1]
    damage(last)
    found, broken = newest_whole(tmp_path)
    assert found is not None and step_of(found) == 4
    assert list(broken) == [last] and broken[last]


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
