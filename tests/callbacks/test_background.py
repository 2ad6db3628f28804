from __future__ import annotations

import threading

import pytest

from callbacks.background import Background


def test_one_piece_after_the_other() -> None:
    done: list[int] = []
    gate = threading.Event()
    background = Background()
    background.start(lambda: (gate.wait(60), done.append(1)))  # type: ignore[func-returns-value]
    assert done == [], "the work holds nobody up"
    gate.set()
    background.start(lambda: done.append(2))
    background.join()
    assert done == [1, 2]


def test_what_goes_wrong_there_is_told_here_once() -> None:
    def fail() -> None:
        raise OSError("no space")

    background = Background()
    background.start(fail)
    with pytest.raises(OSError, match="no space"):
        background.join()
    background.join()
    background.start(fail)
    with pytest.raises(OSError, match="no space"):
        background.start(lambda: None)
