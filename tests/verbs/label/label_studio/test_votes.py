"""What is taken: the newest word of each person on each question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from studio_server import TIED, Exchange, Studio, better, ranked, votes, write

from rlhf.data.readers import read
from rlhf.data.records import Comparison, Ranking
from rlhf.labelling.vote_log import FILE, read_votes
from verbs.label.reading import questions_in


def test_votes_of_several_people(exchange: Exchange, studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    exchange()
    q1, q2, q3, r1 = (studio.about(name) for name in ("q1", "q2", "q3", "r1"))
    studio.annotate(q1, 1, better(q1, "good q1"))
    studio.annotate(q1, 2, better(q1, "bad q1"))
    studio.annotate(q2, 1, TIED)
    studio.annotate(q2, 2, [], was_cancelled=True)
    studio.annotate(q3, 1, [])
    studio.annotate(q3, 2, [*TIED, *better(q3, "good q3")])
    studio.annotate(r1, {"id": 2, "email": "bob@example.test"}, ranked(r1, *(f"r1 {i}" for i in "cabd")))
    studio.annotate(r1, 1, ranked(r1, "r1 a", "r1 b"))
    exchange()
    said = caplog.text
    assert votes() == [
        ("skip", "bob", "q2", None),
        ("vote", "Ada Lovelace", "q1", ["good q1", "bad q1"]),
        ("vote", "Ada Lovelace", "q2", [1, 1]),
        ("vote", "bob", "q1", ["bad q1", "good q1"]),
        ("vote", "bob", "r1", [f"r1 {i}" for i in "cabd"]),
    ]
    assert "6 annotations, of which 1 skipped, 1 without a choice, 1 contradictory" in said
    assert "2 annotations, of which 0 skipped, 0 without a choice, 1 contradictory" in said
    assert "1 questions were judged by several people, who differ about 1" in said
    assert "4 votes and 1 skips by 2 people" in said
    found = read(Path("votes") / "comparisons.jsonl", "comparisons")
    assert [type(item) for item in found.items] == [Comparison, Comparison, Ranking, Ranking]
    before = (Path("votes") / FILE).read_bytes()
    exchange()
    assert (Path("votes") / FILE).read_bytes() == before, "a second time takes nothing"


def test_the_newest_vote_counts(exchange: Exchange, studio: Studio) -> None:
    exchange()
    q1 = studio.about("q1")
    first = studio.annotate(q1, 1, better(q1, "good q1"))
    exchange()
    studio.touch(first, result=better(q1, "bad q1"))
    exchange()
    assert votes() == [("vote", "Ada Lovelace", "q1", ["bad q1", "good q1"])]
    second = studio.annotate(q1, 1, TIED)
    exchange()
    exchange()
    assert votes() == [("vote", "Ada Lovelace", "q1", [1, 1])]
    events = [line["event"] for line in read_votes(Path("votes") / FILE)]
    assert events == ["vote", "undo", "vote", "undo", "vote"]
    q1["annotations"].remove(second)
    exchange()
    assert votes() == [("vote", "Ada Lovelace", "q1", ["bad q1", "good q1"])], "what is left is the newest"
    studio.touch(first, was_cancelled=True)
    exchange()
    assert votes() == [("skip", "Ada Lovelace", "q1", None)]
    q1["annotations"].clear()
    exchange()
    exchange()
    assert votes() == [] and len(read_votes(Path("votes") / FILE)) == 10


def test_names_stay_and_no_two_are_the_same(exchange: Exchange, studio: Studio) -> None:
    exchange()
    studio.users.append({"id": 3, "username": "x", "first_name": "Ada", "last_name": "Lovelace"})
    studio.users.append({"id": 4, "username": "a\u202eb@example.test", "first_name": "", "last_name": ""})
    q1 = studio.about("q1")
    for person in (1, 3, 4, 9):
        studio.annotate(q1, person, better(q1, "good q1"))
    exchange()
    names = ["Ada Lovelace", "Ada Lovelace (3)", "user 4", "user 9"]
    assert sorted(name for _, name, *_ in votes()) == names
    studio.users[0]["last_name"] = "King"
    q2 = studio.about("q2")
    studio.annotate(q2, 1, better(q2, "good q2"))
    exchange()
    assert {name for _, name, *_ in votes()} == {*names}
    everything = "".join(path.read_text() for path in Path("votes").iterdir())
    assert "@" not in everything, "addresses are no training data"


def test_an_undo_on_the_page_stands_until_the_annotation_changes(exchange: Exchange, studio: Studio) -> None:
    from rlhf.labelling.desk import Desk
    from rlhf.labelling.vote_log import VoteLog

    exchange()
    q1 = studio.about("q1")
    given = studio.annotate(q1, 1, better(q1, "good q1"))
    exchange()
    log = VoteLog(Path("votes"))
    desk = Desk(questions_in(Path("a.jsonl"), "auto", 1), log, 1)
    desk.undo("Ada Lovelace", desk.state("Ada Lovelace")["turn"])
    log.close()
    exchange()
    assert votes() == []
    studio.touch(given)
    exchange()
    assert votes() == [("vote", "Ada Lovelace", "q1", ["good q1", "bad q1"])]


def test_another_labelling_of_the_same_name_takes_its_own_votes(exchange: Exchange, studio: Studio) -> None:
    exchange()
    for name in ("q1", "q2"):
        studio.annotate(studio.about(name), 1, better(studio.about(name), f"good {name}"))
    write("q2 q9")
    exchange(out="other/votes")
    assert len(studio.projects) == 2 and len(studio.tasks) == 5, "q2 is there"
    found = read_votes(Path("other/votes") / FILE)
    assert [line["prompt"] for line in found] == ["q2"]


def test_an_export_of_such_a_project_is_read(exchange: Exchange, studio: Studio) -> None:
    """By training, without this program."""
    exchange()
    q1, q2, q3, r1 = (studio.about(name) for name in ("q1", "q2", "q3", "r1"))
    studio.annotate(q1, 1, better(q1, "good q1"))
    studio.annotate(q2, 1, TIED)
    studio.annotate(q3, 1, [*TIED, *better(q3, "good q3")])
    studio.annotate(r1, 1, ranked(r1, *(f"r1 {i}" for i in "dcba")))
    Path("export.json").write_text(json.dumps(list(studio.tasks.values())))
    found = read(Path("export.json"), "comparisons")
    one, two, three = found.items
    assert isinstance(one, Comparison) and (one.chosen, one.rejected) == ("good q1", "bad q1")
    assert isinstance(two, Ranking) and two.ranks == (1, 1)
    assert isinstance(three, Ranking) and three.best == "r1 d"
    assert found.counts["read"] == 4
