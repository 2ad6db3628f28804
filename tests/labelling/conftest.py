"""Questions and desks, made up in no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlhf.data.records import Prompt
from rlhf.labelling.desk import Desk
from rlhf.labelling.questions import Question, make_question
from rlhf.labelling.vote_log import VoteLog

MakeDesk = Callable[..., Desk]


@pytest.fixture
def questions() -> list[Question]:
    return [make_question("pairs", Prompt.of(f"q{i}"), (f"good {i}", f"bad {i}")) for i in range(5)]


@pytest.fixture
def make_desk(tmp_path: Path, questions: list[Question]) -> Iterator[MakeDesk]:
    """`make_desk()` opens the log of `tmp_path` anew, as a process that starts does."""
    opened: list[VoteLog] = []

    def make(given: list[Question] | None = None, **options: object) -> Desk:
        for log in opened:
            log.close()
        opened.append(VoteLog(tmp_path))
        return Desk(questions if given is None else given, opened[-1], seed=1, **options)  # type: ignore[arg-type]

    yield make
    for log in opened:
        log.close()
