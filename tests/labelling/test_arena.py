"""A conversation with two hidden models: each vote compares two answers to the same conversation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf.data.records import Comparison, Prompt
from rlhf.labelling.annotations import prompt_in
from rlhf.labelling.arena import Arena
from rlhf.labelling.desk import Refused, Stale
from rlhf.labelling.export import comparisons_of, write
from rlhf.labelling.results import wins_of
from rlhf.labelling.vote_log import Said, VoteLog, read_votes

NAMES = ("runs/a", "runs/b")


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    log = VoteLog(tmp_path)

    def answer(model: int, prompt: Prompt, annotator: str, number: int) -> str:
        if "same" in prompt.text:
            return "same"
        return "" if "empty" in prompt.text and model else f"{'ab'[model]} says {prompt.text} {number}"

    yield Arena(answer, NAMES, log, seed=1)
    log.close()


def prefer(arena: Arena, model: str, annotator: str = "ada") -> None:
    state = arena.state(annotator)
    first = state["question"]["responses"][0].startswith(model)
    arena.vote(annotator, state["turn"], state["question"]["id"], Said((1, 2) if first else (2, 1)))


def test_the_preferred_answer_continues_the_conversation(arena: Arena, tmp_path: Path) -> None:
    from rlhf.data.readers import read

    arena.say("ada", 0, "one")
    state = arena.state("ada")
    assert sorted(state["question"]["responses"]) == ["a says one 0", "b says one 0"] and state["total"] is None
    assert not any(name in str(state) for name in NAMES), "they are hidden"
    with pytest.raises(Refused):
        arena.say("ada", 0, "two")
    prefer(arena, "b")
    assert arena.state("ada")["talk"] == [["user", "one"], ["assistant", "b says one 0"]]
    arena.say("ada", 1, "two")
    prefer(arena, "a")
    first, second = read_votes(arena.log.path)
    talk = Prompt((("user", "one"), ("assistant", "b says one 0"), ("user", "two")))
    assert (prompt_in(second) == talk and second["sources"] == first["sources"]) or set(second["sources"]) == set(NAMES)
    (path,) = write(tmp_path, comparisons_of([first, second]), [])
    found = read(path, "comparisons").items
    assert isinstance(found[1], Comparison) and found[1].chosen.startswith("a says two")
    assert wins_of([first, second])["runs/a>runs/b"]["rate"] == 0.5


def test_undo_goes_back_to_the_question(arena: Arena) -> None:
    arena.say("ada", 0, "one")
    before = arena.state("ada")["question"]
    prefer(arena, "a")
    arena.undo("ada", 1)
    state = arena.state("ada")
    assert state["question"] == before and state["talk"] == [] and not state["can_undo"]
    prefer(arena, "b")
    assert [line["event"] for line in read_votes(arena.log.path)] == ["vote", "undo", "vote"]


def test_answers_to_what_was_undone_meanwhile_are_dropped(arena: Arena) -> None:
    arena.say("ada", 0, "one")
    before = arena.state("ada")["question"]
    prefer(arena, "a")
    inner = arena.answer

    def undoing(model: int, *rest: object) -> str:
        if model:
            arena.undo("ada", 1)
        return inner(model, *rest)  # type: ignore[arg-type]

    arena.answer = undoing
    arena.say("ada", 1, "two")
    assert arena.state("ada")["question"] == before and arena.state("ada")["talk"] == []
    prefer(arena, "b")
    assert arena.state("ada")["talk"][-1] == ["assistant", "b says one 0"]


def test_the_same_question_again_is_one_pair(arena: Arena) -> None:
    """Models that draw nothing answer the same each time."""
    arena.answer = lambda model, *_: "ab"[model]
    for annotator, times in (("bob", 1), ("ada", 2)):
        for turn in range(times):
            arena.say(annotator, turn, "one")
            prefer(arena, "ab"[turn], annotator)
            if turn + 1 < times:
                arena.reset(annotator, turn + 1)
    assert arena.state("ada")["agreement"] == {"share": 0, "pairs": 1}


def test_a_skip_takes_the_question_out(arena: Arena) -> None:
    arena.say("ada", 0, "one")
    arena.skip("ada", 0, arena.state("ada")["question"]["id"])
    assert arena.state("ada")["talk"] == [] and arena.state("ada")["question"] is None


def test_equal_and_empty_answers_are_no_comparison(arena: Arena) -> None:
    arena.say("ada", 0, "the same?")
    assert arena.state("ada")["note"] == "same" and arena.state("ada")["talk"][-1] == ["assistant", "same"]
    arena.say("ada", 0, "empty?")
    assert arena.state("ada")["note"] == "empty" and arena.state("ada")["question"] is None
    assert len(arena.state("ada")["talk"]) == 2


def test_a_tie_continues_with_the_answer_that_stood_first(arena: Arena) -> None:
    arena.say("ada", 0, "one")
    state = arena.state("ada")
    arena.vote("ada", 0, state["question"]["id"], Said((1, 1)))
    assert arena.state("ada")["talk"][-1] == ["assistant", state["question"]["responses"][0]]


def test_each_annotator_has_a_conversation_of_their_own(arena: Arena) -> None:
    arena.say("ada", 0, "one")
    assert arena.state("bob")["question"] is None
    arena.say("bob", 0, "one")
    prefer(arena, "a", "bob")
    assert arena.state("ada")["question"] is not None and arena.state("ada")["talk"] == []
    arena.reset("ada", 0)
    assert arena.state("ada")["question"] is None
    with pytest.raises(Stale):
        arena.reset("bob", 0)


@pytest.mark.parametrize("text", ["", " \n", "x" * 20_001], ids=["empty", "blank", "long"])
def test_no_question(arena: Arena, text: str) -> None:
    with pytest.raises(Refused):
        arena.say("ada", 0, text)


def test_sides_are_drawn_before_the_answers_are_there(arena: Arena) -> None:
    """So that they can be shown while they are written, each where it stays."""
    firsts = []
    for turn in range(40):
        heard = ["", ""]

        def hear(place: int, piece: str, heard: list[str] = heard) -> None:
            heard[place] += piece

        arena.say("ada", turn, f"question {turn}", hear)
        shown = arena.state("ada")["question"]
        assert shown["responses"] == heard
        arena.vote("ada", turn, shown["id"], Said((1, 2)), shown["order"])
        line = read_votes(arena.log.path)[-1]
        assert line["responses"][line["shown"][0]] == heard[0] == line["responses"][line["ranks"].index(1)]
        firsts.append(heard[0][0])
    # Within five standard deviations, √(40/4), of one half.
    assert 4 < firsts.count("a") < 36
