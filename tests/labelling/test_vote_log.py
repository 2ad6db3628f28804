"""The file of votes: whole lines, each once, whatever interrupted the writer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rlhf.errors import ConfigError, DataError
from rlhf.labelling.questions import Question
from rlhf.labelling.vote_log import FILE, Said, VoteLog, event_line, read_votes, standing, undo_line

SAID = Said((1, 2))


def test_what_is_appended_is_read(tmp_path: Path, questions: list[Question]) -> None:
    log = VoteLog(tmp_path / "deep")
    line = event_line("vote", "ada", 0, questions[0], (1, 0), Said((2, 1), comment="why \u2028 not"))
    log.append(line)
    assert read_votes(log.path) == [line]
    assert line["shown"] == [1, 0] and line["ranks"] == [2, 1] and line["time"].endswith("+00:00")
    log.close()


def test_a_line_is_on_disk_when_append_returns(
    tmp_path: Path, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill leaves what the system holds; a power cut leaves what was synced."""
    log, synced = VoteLog(tmp_path), list[str]()
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(log.path.read_text()))
    for turn in (0, 1):
        log.append(event_line("vote", "ada", turn, questions[turn], (0, 1), SAID))
        assert synced[-1] == log.path.read_text() and synced[-1].count("\n") == turn + 1
    assert len(synced) == 2
    log.close()


def test_a_torn_line_is_left_out_and_the_next_one_is_whole(tmp_path: Path, questions: list[Question]) -> None:
    first, second = (event_line("vote", "ada", turn, questions[turn], (0, 1), SAID) for turn in (0, 1))
    (tmp_path / FILE).write_text(json.dumps(first) + "\n" + json.dumps(second)[:40])
    log = VoteLog(tmp_path)
    assert log.lines == [first]
    log.append(second)
    log.append(undo_line("ada", 2, 1))
    assert read_votes(log.path)[:2] == [first, second]
    assert list(standing(read_votes(log.path))) == [first]
    log.close()


def test_a_turn_that_stands_twice_counts_once_the_confirmed_one(tmp_path: Path, questions: list[Question]) -> None:
    """Writing the first failed after it had reached the disk, so its annotator was told to try again."""
    lines = [event_line("vote", "ada", 0, questions[0], (0, 1), said) for said in (SAID, Said((2, 1)))]
    (tmp_path / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_votes(tmp_path / FILE) == [lines[1]]


@pytest.mark.parametrize(
    "change",
    [
        {"event": "other"},
        {"turn": "0"},
        {"shown": [0, 0]},
        {"ranks": [1]},
        {"ranks": [0, 1]},
        {"responses": "ab"},
        {"annotator": None},
    ],
    ids=str,
)
def test_lines_that_are_no_events_are_left_out(tmp_path: Path, questions: list[Question], change: dict) -> None:
    line = event_line("vote", "ada", 0, questions[0], (0, 1), SAID)
    (tmp_path / FILE).write_text(json.dumps(line | change) + "\n" + json.dumps({**line, "turn": 1}) + "\nnot JSON\n")
    assert [found["turn"] for found in read_votes(tmp_path / FILE)] == [1]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    log = VoteLog(tmp_path)
    with pytest.raises(ConfigError, match=r"out: .*open in another process"):
        VoteLog(tmp_path)
    log.close()
    VoteLog(tmp_path).close()


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="out: "):
        VoteLog(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_votes(tmp_path / FILE)
