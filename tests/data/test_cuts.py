"""What goes and what stays where an example is too long: by hand, and for random conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.data.cuts import Fitted, PromptTokens, PromptTooLong, Tally, Truncate, fit, shorten, warning
from rlhf.errors import DataError

HEADERS = {"system": 1, "user": 2, "assistant": 3, "tool": 4}
END, ASK = 9, 3


@dataclass
class Ids:
    ids: list[int]
    contents: list[tuple[int, int]]


def encode(turns: Sequence[Mapping[str, Any]]) -> Ids:
    """A header, the numbers that a turn says, and 9; where no system turn comes first, one that says 77 777."""
    written = turns if turns[0]["role"] == "system" else [{"role": "system", "content": "77 777"}, *turns]
    ids: list[int] = []
    contents: list[tuple[int, int]] = []
    for turn in written:
        said = [int(word) for word in turn["content"].split()]
        ids += [HEADERS[turn["role"]], *said, END]
        contents.append((len(ids) - 1 - len(said), len(ids) - 1))
    return Ids([*ids, ASK], contents[len(written) - len(turns) :])


def talk(*said: str) -> list[dict[str, str]]:
    """`s: 10 11`, `u: …`, `a: …`, `t: …` as turns."""
    roles = {role[0]: role for role in HEADERS}
    return [{"role": roles[line[0]], "content": line[2:].strip()} for line in said]


LONG = talk("s: 10 11", "u: 20 21 22", "a: 30 31", "u: 40 41", "a: 50", "u: 60 61 62 63")
SYSTEM = [1, 10, 11, 9]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (27, [*SYSTEM, 2, 20, 21, 22, 9, 3, 30, 31, 9, 2, 40, 41, 9, 3, 50, 9, 2, 60, 61, 62, 63, 9, 3]),
        # One token too many: the oldest exchange goes whole, though a single token would have done.
        (26, [*SYSTEM, 2, 40, 41, 9, 3, 50, 9, 2, 60, 61, 62, 63, 9, 3]),
        (18, [*SYSTEM, 2, 40, 41, 9, 3, 50, 9, 2, 60, 61, 62, 63, 9, 3]),
        (17, [*SYSTEM, 2, 60, 61, 62, 63, 9, 3]),
        (11, [*SYSTEM, 2, 60, 61, 62, 63, 9, 3]),
        # Then tokens from the front of the question.
        (10, [*SYSTEM, 2, 61, 62, 63, 9, 3]),
        (8, [*SYSTEM, 2, 63, 9, 3]),
    ],
)
def test_by_hand(limit: int, expected: list[int]) -> None:
    found = shorten(LONG, encode, limit)
    assert list(found.ids) == expected
    assert found.cut == 27 - len(expected)


def test_a_default_system_turn_comes_only_where_there_was_none() -> None:
    """Some templates (Qwen's, for one) write a system turn of their own where a conversation has none."""
    for limit in range(8, 28):
        assert 77 not in shorten(LONG, encode, limit).ids
    assert list(shorten(LONG[1:], encode, 18).ids) == [1, 77, 777, 9, 2, 40, 41, 9, 3, 50, 9, 2, 60, 61, 62, 63, 9, 3]


def test_what_can_not_be_cut_further() -> None:
    with pytest.raises(PromptTooLong, match=r"a prompt of 27 tokens .* 7 .* need 8; raise data\.max_length") as caught:
        shorten(LONG, encode, 7)
    assert caught.value.system
    with pytest.raises(PromptTooLong) as caught:
        shorten(LONG, encode, 3)
    assert not caught.value.system, "the headers alone are too long, whatever the system turn says"


def test_tools_go_with_their_exchange_and_their_results_are_cut_last() -> None:
    turns = talk("u: 20 21", "a: 30", "t: 31 32", "a: 33", "u: 40 41", "a: 50", "t: 60 61 62")
    short = [1, 77, 777, 9, 2, 40, 41, 9, 3, 50, 9, 4, 60, 61, 62, 9, 3]
    assert list(shorten(turns, encode, 17).ids) == short
    assert list(shorten(turns, encode, 16).ids) == [n for n in short if n != 40]
    assert list(shorten(turns, encode, 14).ids) == [n for n in short if n not in (40, 60, 61)]
    with pytest.raises(PromptTooLong):
        shorten(turns, encode, 13)


def test_three_texts_are_cut_each_at_its_place() -> None:
    turns = talk("u: 40 41", "a: 50", "t: 60 61", "a: 51", "t: 70 71")
    shortest = [1, 77, 777, 9, 2, 41, 9, 3, 50, 9, 4, 61, 9, 3, 51, 9, 4, 71, 9, 3]
    assert list(shorten(turns, encode, 20).ids) == shortest


def test_a_conversation_that_the_assistant_opened() -> None:
    turns = talk("s: 10", "a: 20 21", "u: 30", "a: 40", "u: 50")
    assert list(shorten(turns, encode, 15).ids) == [1, 10, 9, 2, 30, 9, 3, 40, 9, 2, 50, 9, 3]


def test_a_template_that_refuses_a_shorter_conversation() -> None:
    def picky(turns: Sequence[Mapping[str, Any]]) -> Ids:
        if len(turns) == 4:
            raise DataError("refused")
        return encode(turns)

    assert list(shorten(LONG, picky, 20).ids) == [*SYSTEM, 2, 60, 61, 62, 63, 9, 3]
    with pytest.raises(DataError, match="refused"):
        shorten(LONG[2:], picky, 99)


numbers = st.lists(st.integers(100, 999), min_size=1, max_size=6).map(lambda said: " ".join(map(str, said)))


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, str]]:
    turns = [{"role": "system", "content": draw(numbers)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 4))):
        turns.append({"role": "user", "content": draw(numbers)})
        for role in draw(st.sampled_from([["assistant"], ["assistant", "tool"], ["assistant", "tool", "assistant"]])):
            turns.append({"role": role, "content": draw(numbers)})
    return [*turns, {"role": "user", "content": draw(numbers)}]


def is_subsequence(part: Sequence[int], whole: Sequence[int]) -> bool:
    rest = iter(whole)
    return all(token in rest for token in part)


@settings(max_examples=300, deadline=None)
@given(conversations(), st.integers(1, 80))
def test_of_any_conversation(turns: list[dict[str, str]], limit: int) -> None:
    whole = encode(turns).ids
    try:
        found = shorten(turns, encode, limit)
    except PromptTooLong:
        last = {"role": "user", "content": turns[-1]["content"].split()[-1]}
        shortest = [turns[0], last] if turns[0]["role"] == "system" else [last]
        assert len(encode(shortest).ids) > limit
        return
    assert len(found.ids) <= limit and found.cut == len(whole) - len(found.ids)
    assert is_subsequence(found.ids, whole)
    head = encode(turns[:1]).ids[:-1] if turns[0]["role"] == "system" else [1, 77, 777, 9]
    assert list(found.ids[: len(head)]) == head, "the system turn is there, and whole"
    tail = [int(turns[-1]["content"].split()[-1]), END, ASK]
    assert list(found.ids[-3:]) == tail, "the question's end is there"


def fitted(turns: list[dict[str, str]], responses: list[list[int]], limit: int, truncate: Truncate) -> Fitted:
    whole = shorten(turns, encode, 10**9)
    return fit(whole, lambda room: shorten(turns, encode, room), responses, limit, truncate)


class TestFit:
    question = talk("s: 10", "u: 20 21 22 23")  # 9 tokens, at least 6

    def test_all_fits(self) -> None:
        for truncate in get_args(Truncate):
            found = fitted(self.question, [[1, 2], [3]], 12, truncate)
            assert found == Fitted(PromptTokens((1, 10, 9, 2, 20, 21, 22, 23, 9, 3)), ((1, 2), (3,)))

    def test_the_prompt_is_cut_once_for_all_responses(self) -> None:
        found = fitted(self.question, [[1, 2], [3] * 5], 13, "prompt")
        assert found.prompt == PromptTokens((1, 10, 9, 2, 22, 23, 9, 3), 2)
        assert found.responses == ((1, 2), (3,) * 5) and found.cut_responses == 0
        with pytest.raises(PromptTooLong):
            fitted(self.question, [[1, 2], [3] * 7], 13, "prompt")

    def test_nothing_is_cut(self) -> None:
        with pytest.raises(PromptTooLong):
            fitted(self.question, [[1, 2], [3] * 5], 13, "drop")

    def test_responses_lose_their_end(self) -> None:
        # The prompt keeps half of the limit where it has more, so 8 of its 10; the responses have the other half.
        found = fitted(self.question, [[1, 2], list(range(100, 112))], 16, "response")
        assert found.prompt == PromptTokens((1, 10, 9, 2, 22, 23, 9, 3), 2)
        assert found.responses == ((1, 2), tuple(range(100, 108))) and found.cut_responses == 1
        # A prompt that is shorter than half is left as it is.
        found = fitted(self.question, [list(range(100, 130))], 24, "response")
        assert found.prompt.cut == 0 and found.responses == (tuple(range(100, 114)),)
        # Responses that fit into their half lose nothing: the prompt gives way, as without this policy.
        policies: tuple[Truncate, ...] = ("response", "prompt")
        found, same = (fitted(self.question, [[5] * 8], 16, truncate) for truncate in policies)
        assert found == same and found.prompt.cut == 2
        found, same = (fitted(self.question, [[5] * 7], 16, truncate) for truncate in policies)
        assert found == same and found.prompt.cut == 1, "no more than it must"
        # One that just fits beside a longer one is whole.
        assert fitted(self.question, [[5] * 8, [6] * 9], 16, "response").cut_responses == 1


class TestTally:
    def test_counts_and_the_warning(self) -> None:
        tally = Tally()
        for length in range(1, 96):
            tally.keep(length, Fitted(PromptTokens((1,), cut=int(length > 93)), ()))
        for length in (200, 300, 400, 500):
            tally.drop(length)
        tally.drop(600, PromptTooLong("x", system=True))
        counts = tally.counts()
        assert counts == {
            "cut_prompts": 2,
            "dropped_too_long": 5,
            "dropped_system_too_long": 1,
            "length_99_percent": 500,
            "median_length_kept": 48,
            "median_length_dropped": 400,
        }
        said = warning({"rows": 95, **counts}, 90, reserved=10)
        assert said is not None and said.startswith("data.max_length: 100 ")
        assert all(figure in said for figure in ("2 prompts", "5 of 100", "7.0%", "400", "48", "data.max_length=510"))

    def test_99_percent_are_at_least_so_many(self) -> None:
        tally = Tally()
        for length in range(1, 102):
            tally.keep(length, Fitted(PromptTokens((1,), cut=1), ()))
        assert tally.counts()["length_99_percent"] == 100, "99 of 101 would be 98%"

    def test_silence_up_to_a_hundredth(self) -> None:
        assert warning({"rows": 99, "dropped_too_long": 1, "cut_prompts": 0, "length_99_percent": 7}, 10) is None
        assert warning({"rows": 98, "dropped_too_long": 1, "cut_prompts": 0, "length_99_percent": 7}, 10) is not None
        assert warning({"rows": 0}, 10) is None
        tally = Tally()
        tally.keep(3, Fitted(PromptTokens((1,)), ()))
        assert tally.counts() == {"cut_prompts": 0, "dropped_too_long": 0}
