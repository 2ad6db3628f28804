"""Who is asked what, and that every vote counts exactly once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf.data.records import Prompt
from rlhf.labelling.desk import HELD, Desk, Refused, Stale
from rlhf.labelling.questions import Question, make_question, sides
from rlhf.labelling.vote_log import Said, read_votes, standing

MakeDesk = Callable[..., Desk]
FIRST, TIE = Said((1, 2)), Said((1, 1))


def vote(desk: Desk, annotator: str, said: Said = FIRST) -> str:
    """Answer what is shown; returns the question."""
    state = desk.state(annotator)
    desk.vote(annotator, state["turn"], state["question"]["id"], said)
    return state["question"]["id"]


def test_ranks_belong_to_the_answers_and_not_to_their_places(make_desk: MakeDesk) -> None:
    """The answer that stands first is preferred each time; what is written is which one that was."""
    desk = make_desk()
    swapped = 0
    for _ in range(5):
        shown = desk.state("ada")["question"]["responses"]
        vote(desk, "ada")
        line = read_votes(desk.log.path)[-1]
        assert line["responses"][line["ranks"].index(1)] == shown[0]
        assert [line["responses"][i] for i in line["shown"]] == shown
        swapped += line["shown"] == [1, 0]
    assert 0 < swapped < 5, "some stand on the other side"


def test_nobody_is_asked_twice_and_a_new_process_continues(make_desk: MakeDesk) -> None:
    desk = make_desk()
    asked = [vote(desk, "ada") for _ in range(3)]
    desk = make_desk()
    assert (desk.state("ada")["done"], desk.state("ada")["turn"], desk.state("ada")["total"]) == (3, 3, 5)
    asked += [vote(desk, "ada") for _ in range(2)]
    assert len(set(asked)) == 5 and desk.state("ada")["question"] is None
    assert desk.state("bob")["done"] == 0


def test_two_annotators_are_asked_the_same_in_the_same_order(make_desk: MakeDesk) -> None:
    desk = make_desk()
    pairs = [(vote(desk, "ada"), vote(desk, "bob")) for _ in range(5)]
    assert all(one == other for one, other in pairs)


def test_votes_on_other_questions_are_not_counted_as_progress(make_desk: MakeDesk, questions: list[Question]) -> None:
    desk = make_desk()
    first = vote(desk, "ada")
    desk = make_desk([question for question in questions if question.id != first])
    assert (desk.state("ada")["done"], desk.state("ada")["total"], desk.state("ada")["turn"]) == (0, 4, 1)


def test_a_vote_that_is_sent_twice_counts_once(make_desk: MakeDesk) -> None:
    desk = make_desk()
    state = desk.state("ada")
    desk.vote("ada", 0, state["question"]["id"], FIRST)
    with pytest.raises(Stale):
        desk.vote("ada", 0, state["question"]["id"], FIRST)
    with pytest.raises(Stale):  # nor does a late undo take back another vote
        desk.undo("ada", 0)
    assert len(read_votes(desk.log.path)) == 1


def test_undo_is_a_line_of_its_own_and_the_question_comes_again(make_desk: MakeDesk) -> None:
    desk = make_desk()
    first, second = vote(desk, "ada"), vote(desk, "ada", TIE)
    desk.undo("ada", 2)
    state = desk.state("ada")
    assert state["question"]["id"] == second and state["done"] == 1 and state["turn"] == 3
    assert [line["event"] for line in read_votes(desk.log.path)] == ["vote", "vote", "undo"]
    desk.undo("ada", 3)
    assert desk.state("ada")["question"]["id"] == first and not desk.state("ada")["can_undo"]
    with pytest.raises(Refused):
        desk.undo("ada", 4)
    assert vote(desk, "ada", TIE) == first
    again = make_desk()
    assert again.state("ada")["question"]["id"] == second and again.state("ada")["turn"] == 5
    (left,) = standing(read_votes(again.log.path))
    assert left["ranks"] == [1, 1]


def test_a_skip_is_not_asked_again_and_is_no_vote(make_desk: MakeDesk) -> None:
    desk = make_desk()
    question = desk.state("ada")["question"]["id"]
    desk.skip("ada", 0, question)
    state = desk.state("ada")
    assert state["question"]["id"] != question and state["done"] == 1 and state["votes"] == 0


def test_agreement_while_people_vote(make_desk: MakeDesk) -> None:
    desk = make_desk()
    for said in (FIRST, TIE):
        question = desk.questions[desk.state("ada")["done"]]
        vote(desk, "ada", said)
        # The same answer for both, wherever it stands.
        same = sides(1, question, "ada") == sides(1, question, "bob")
        vote(desk, "bob", said if same or said is TIE else Said((2, 1)))
    assert desk.state("ada")["agreement"] == {"share": 1.0, "pairs": 2}
    vote(desk, "ada", TIE)
    vote(desk, "bob", FIRST)
    assert desk.state("ada")["agreement"] == {"share": 2 / 3, "pairs": 3}
    assert make_desk().state("bob")["agreement"] == {"share": 2 / 3, "pairs": 3}
    desk = make_desk()
    for turn, pairs in ((3, 2), (4, 1)):
        desk.undo("bob", turn)
        assert desk.state("ada")["agreement"] == {"share": 1.0, "pairs": pairs}


def test_so_many_votes_for_each_question(make_desk: MakeDesk) -> None:
    now = [0.0]
    desk = make_desk(votes_per_question=1, clock=lambda: now[0])
    first = desk.state("ada")["question"]["id"]
    second = desk.state("bob")["question"]["id"]
    assert first != second, "ada is looking at the first"
    now[0] = HELD + 1
    assert desk.state("eve")["question"]["id"] == first, "she has looked too long"
    desk.vote("eve", 0, first, FIRST)
    assert desk.state("bob")["question"]["id"] == second
    with pytest.raises(Stale):
        desk.vote("ada", 0, first, FIRST)
    # What ada's page shows instead is hers for a while.
    asked = [vote(desk, "bob") for _ in range(3)]
    now[0] = 3 * HELD
    asked += [vote(desk, "ada")]
    assert len({*asked, first}) == 5
    assert {name: desk.state(name)["question"] for name in ("ada", "bob", "eve")} == dict.fromkeys(
        ("ada", "bob", "eve")
    )
    assert (desk.state("ada")["total"], desk.state("bob")["total"]) == (1, 3)


def test_a_page_from_before_a_restart_with_another_seed_does_not_vote(make_desk: MakeDesk) -> None:
    """What stood first there may stand second now."""
    question = make_question("pairs", Prompt.of("q"), ("a", "b"))
    shown = make_desk([question]).state("ada")["question"]
    desk = make_desk([question])
    desk.seed = next(seed for seed in range(9) if list(sides(seed, question, "ada")) != shown["order"])
    with pytest.raises(Stale):
        desk.vote("ada", 0, question.id, FIRST, shown["order"])
    assert read_votes(desk.log.path) == []
    shown = desk.state("ada")["question"]
    desk.vote("ada", 0, question.id, FIRST, shown["order"])
    (line,) = read_votes(desk.log.path)
    assert line["shown"] == shown["order"] and line["responses"][line["ranks"].index(1)] == shown["responses"][0]


def test_who_skips_a_question_keeps_it_from_nobody(make_desk: MakeDesk) -> None:
    desk = make_desk(votes_per_question=1, clock=lambda: 0.0)
    first = desk.state("ada")["question"]["id"]
    desk.skip("ada", 0, first)
    assert desk.state("bob")["question"]["id"] == first


@pytest.mark.parametrize("name", ["", " ada", "a\nb", "a\u202eb", "x" * 41])
def test_names(make_desk: MakeDesk, name: str) -> None:
    with pytest.raises(Refused):
        make_desk().state(name)


@pytest.mark.parametrize(
    "said",
    [
        Said(),
        Said((1,)),
        Said((1, 2, 3)),
        Said((1, 3)),
        Said((0, 1)),
        Said((2, 2)),
        Said((1, 2), True),
        Said((1, 2**62)),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_and_not_written(make_desk: MakeDesk, said: Said) -> None:
    desk = make_desk()
    with pytest.raises(Refused):
        vote(desk, "ada", said)
    assert read_votes(desk.log.path) == []


def test_other_tasks(make_desk: MakeDesk, tmp_path: Path) -> None:
    def ask(task: str, *texts: str) -> Question:
        return make_question(task, Prompt.of(task), texts)

    desk = make_desk([ask("best", "a", "b", "c")])
    with pytest.raises(Refused):
        vote(desk, "ada", Said((1, 2, 3)))
    vote(desk, "ada", Said((2, 1, 2), comment="clear"))
    assert read_votes(desk.log.path)[-1]["comment"] == "clear"
    desk = make_desk([ask("thumbs", "a")])
    with pytest.raises(Refused):
        vote(desk, "ada", FIRST)
    vote(desk, "ada", Said(desirable=False))
    assert read_votes(desk.log.path)[-1]["desirable"] is False


def test_control_characters_are_shown_written_out(make_desk: MakeDesk) -> None:
    desk = make_desk([make_question("thumbs", Prompt.of("q\u202e"), ("a\x1b[31m",))])
    shown = desk.state("ada")["question"]
    assert shown["prompt"] == [["user", "q\\u202e"]] and shown["responses"] == ["a\\x1b[31m"]
