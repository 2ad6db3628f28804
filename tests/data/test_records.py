from __future__ import annotations

import pytest

from rlhf.data.records import (
    Comparison,
    Demonstration,
    Document,
    Labelled,
    Prompt,
    Ranking,
    as_demonstration,
    as_prompts,
    key_of,
    place_of,
    responses_of,
)

HI = Prompt.of("hi")


def test_ranks_make_the_pairs_of_a_tournament_without_ties() -> None:
    ranking = Ranking(HI, ("a", "b", "c", "d"), (2, 1, 2, 3))
    assert set(ranking.pairs()) == {(1, 0), (1, 2), (1, 3), (0, 3), (2, 3)}
    assert len(ranking.pairs()) == 5
    assert len(Ranking(HI, tuple("abcd"), (4, 3, 2, 1)).pairs()) == 6
    assert Ranking(HI, ("a", "b"), (1, 1)).pairs() == ()
    assert ranking.best == "b"


def test_prompts_are_compared_by_their_whole_conversation() -> None:
    assert HI.turns == (("user", "hi"),)
    assert (HI.text, HI.key) == ("hi", '[["user","hi"]]')
    longer = Prompt((("user", "x"), ("assistant", "y"), ("user", "hi")))
    assert longer.text == HI.text
    assert longer.key != HI.key
    # No text can imitate another conversation's key.
    assert Prompt.of('hi"],["user","x').key != Prompt((("user", "hi"), ("user", "x"))).key


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ((), "at least one turn"),
        ((("user", "a"), ("assistant", "b")), "last turn"),
        ((("tool", "a"), ("user", "b")), "'tool'"),
        ((("function", "a"), ("user", "b")), "'function'"),
        ((("user", "a"), ("tool", "b")), "no assistant"),
        ((("user", "a"), ("system", "b"), ("user", "c")), "come first"),
        ((("user", ""),), r"turn 1 \(user\) is empty"),
    ],
)
def test_impossible_prompts_are_refused(turns: tuple[tuple[str, str], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prompt(turns)


def test_conversions() -> None:
    comparison, ranking = Comparison(HI, "good", "bad"), Ranking(HI, ("bad", "good"), (2, 1))
    assert as_demonstration(comparison) == as_demonstration(ranking) == Demonstration(HI, "good")
    assert responses_of(comparison) == (("good", "bad"), ((0, 1),))
    assert responses_of(ranking) == (("bad", "good"), ((1, 0),))
    assert responses_of(Demonstration(HI, "x")) == (("x",), ())
    other = Prompt.of("other")
    assert as_prompts([comparison, Demonstration(other, "x"), ranking, Document("d"), HI]) == [HI, other]
    assert key_of(comparison) == key_of(HI) == HI.key
    assert key_of(Document("d")) == "d"


def test_white_space_is_content_but_tells_no_prompts_apart_for_splits() -> None:
    """A question with a line's end after it must not be held out while the same one without is learnt."""
    assert Prompt.of("  hi\n").turns == (("user", "  hi\n"),)
    assert Prompt.of("hi\n") != HI and as_prompts([HI, Prompt.of("hi\n")]) == [HI, Prompt.of("hi\n")]
    assert key_of(Demonstration(Prompt.of(" hi\n"), "x")) == key_of(HI)
    assert key_of(Document(" d\n")) == key_of(Document("d"))
    for nothing in ("", " ", "\n\t"):
        with pytest.raises(ValueError, match="is empty"):
            Prompt.of(nothing)


def test_tools_and_calls_are_part_of_a_conversation() -> None:
    turns = (("user", "2+2?"), ("assistant", ""), ("tool", "4"))
    call = '{"tool_calls":[{"function":{"arguments":{"a":2},"name":"add"},"type":"function"}]}'
    tools = '[{"type":"function","function":{"name":"add"}}]'
    with pytest.raises(ValueError, match=r"turn 2 \(assistant\) is empty"):
        Prompt(turns)
    prompt = Prompt(turns, tools, ((1, call),), place="a.jsonl:3")
    assert prompt == Prompt(turns, tools, ((1, call),))
    assert len({prompt, Prompt(turns, tools, ((1, call),)), Prompt(turns, "", ((1, call),))}) == 2
    assert len({prompt.key, Prompt(turns, "", ((1, call),)).key, HI.key}) == 3
    assert place_of(Demonstration(prompt, "4")) == place_of(prompt) == "a.jsonl:3"
    assert place_of(Document("a")) == ""
    function = {"arguments": {"a": 2}, "name": "add"}
    assert Demonstration(prompt, "It is 4.").messages() == [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": function, "type": "function"}]},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "It is 4."},
    ]
    assert Demonstration(HI, "", extras=call).messages()[-1]["tool_calls"][0]["function"] == function


def test_each_turn_of_the_assistant_is_learnt_unless_it_is_said() -> None:
    longer = Prompt((("user", "x"), ("assistant", "y"), ("user", "hi")))
    assert Demonstration(longer, "z").learnt == (1, 1)
    assert Demonstration(longer, "z", (0, 1)).learnt == (0, 1)
    assert Demonstration(longer, "z") != Demonstration(longer, "z", (0, 1))


def test_an_undesirable_answer_is_not_imitated() -> None:
    assert as_demonstration(Labelled(HI, "good", True)) == Demonstration(HI, "good")
    with pytest.raises(ValueError, match="undesirable"):
        as_demonstration(Labelled(HI, "bad", False))
    assert responses_of(Labelled(HI, "bad", False)) == (("bad",), ())
    assert as_prompts([Labelled(HI, "bad", False)]) == [HI]
