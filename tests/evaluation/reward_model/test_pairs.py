"""A reward model by slice, its calibration, what it thinks of length, and how far an ensemble agrees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from rlhf.data.records import Comparison, Prompt, Ranking
from rlhf.evaluation.intervals import wilson
from rlhf.evaluation.reward_model.bench import sections
from rlhf.evaluation.reward_model.pairs import (
    Accuracy,
    Pair,
    accuracy_of,
    by_slice,
    calibration,
    length_bias,
    length_slice,
    member_agreement,
    scored_pairs,
)
from rlhf.evaluation.reward_model.preferences import agreement

A, B, C = (Prompt.of(text) for text in "abc")
RECORDS = [
    Comparison(A, chosen="one two three", rejected="one", tags=(("category", "maths"), ("source", "people"))),
    Comparison(B, chosen="one", rejected="one two", tags=(("category", "code"),)),
    # Two pairs that are right, one that is wrong.
    Ranking(C, ("a b c d", "a b", "a b c"), (1, 2, 3), (("category", "maths"),)),
]


def longest(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
    return [float(len(text.split())) for text in texts]


def pair(margin: float, words: tuple[int, int] = (1, 1), record: int = 0) -> Pair:
    return Pair(record, margin, 0.0, words)


def test_slices_by_hand() -> None:
    found = by_slice(scored_pairs(RECORDS, longest, lambda record, better, worse: {"places": f"{better}{worse}"}))
    assert list(found) == ["category", "length", "places", "source"]
    assert {name: (a.accuracy, a.n, a.pairs) for name, a in found["category"].items()} == {
        "code": (0.0, 1, 1),
        "maths": (pytest.approx((1 + 2 / 3) / 2), 2, 4),
    }
    assert {name: (a.accuracy, a.pairs) for name, a in found["length"].items()} == {
        "better_is_longer": (1.0, 3),
        "worse_is_longer": (0.0, 2),
    }
    assert found["source"]["people"] == Accuracy(1.0, *wilson(1, 1), 1, 1)
    assert set(found["places"]) == {"01", "02", "12"}


def test_the_report_is_of_one_piece() -> None:
    def shortest(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
        return [-len(text.split()) for text in texts]

    found = agreement(RECORDS, longest, members={"long": longest, "short": shortest})
    assert found is not None
    assert found.accuracy == pytest.approx((1 + 0 + 2 / 3) / 3) and (found.n, found.pairs) == (3, 5)
    assert found.members["short"].accuracy == pytest.approx(1 - found.accuracy)
    assert found.agreement is not None and found.agreement["pairwise"] == 0
    record = found.record()
    assert record["slices"]["category"]["maths"]["n"] == 2 and record["members"]["long"]["n"] == 3


def test_similar_lengths() -> None:
    assert [length_slice(*sizes) for sizes in ((10, 9), (9, 10), (0, 0), (10, 8), (8, 10))] == [
        *["similar"] * 3, "better_is_longer", "worse_is_longer",
    ]  # fmt: skip


def test_calibration_by_hand() -> None:
    said = math.log(0.95 / 0.05)
    # Of four that it is sure of (0.95), three are right; those of one record weigh 1 together.
    found = calibration([pair(said, record=0), pair(said, record=1), pair(said, record=2), pair(-said, record=3)])
    upper = found["bins"][-1]
    assert (upper["low"], upper["high"], upper["weight"]) == (0.9, 1.0, 4)
    assert upper["said"] == pytest.approx(0.95) and upper["happened"] == pytest.approx(0.75)
    assert found["error"] == pytest.approx(0.2)
    together = calibration([pair(said, record=0), pair(said, record=0), pair(-said, record=1)])
    assert together["bins"][-1]["happened"] == pytest.approx(0.5)


def test_length_bias_by_hand() -> None:
    pairs = [pair(2, (5, 3)), pair(-1, (4, 3)), pair(0, (1, 2)), pair(7, (3, 3))]
    found = length_bias(pairs)
    assert found["n"] == 3, "answers of one length say nothing"
    assert found["prefers_longer"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert found["labels_prefer_longer"] == pytest.approx(2 / 3)
    assert found["correlation"] == pytest.approx((4 - 1) / math.sqrt(5 * 6))
    assert length_bias([pair(1)])["n"] == 0


def test_a_model_of_length_is_found_out() -> None:
    found = agreement(RECORDS, longest)
    assert found is not None and found.length_bias is not None
    assert found.length_bias["correlation"] == pytest.approx(1) and found.length_bias["prefers_longer"] == 1


def test_members_by_hand() -> None:
    found = member_agreement(
        {"a": [pair(1), pair(1), pair(-1), pair(2)], "b": [pair(3), pair(-5), pair(-1), pair(2)]}
        | {"c": [pair(2), pair(1), pair(-1), pair(0)]}
    )
    # Pair 1: all; pair 2: one of three twosomes; pair 3: all; pair 4: one in full, two by half.
    assert found["pairwise"] == pytest.approx((1 + 1 / 3 + 1 + 2 / 3) / 4)
    assert (found["unanimous"], found["accuracy_if_unanimous"], found["accuracy_if_split"]) == (0.5, 0.5, 0.5)
    assert found["spread"] == pytest.approx((math.sqrt(2 / 3) + math.sqrt(8) + 0 + math.sqrt(8 / 9)) / 4)


def test_nothing_to_say() -> None:
    assert accuracy_of([]) is None and agreement([], longest) is None


def test_sections_of_the_benchmark() -> None:
    def of(accuracy: float, n: int) -> Accuracy:
        return Accuracy(accuracy, 0, 1, n, n)

    subsets = {"math-prm": of(0.5, 400), "hep-go": of(1.0, 10), "hep-rust": of(0.5, 30), "mt-bench-easy": of(0.75, 4)}
    assert sections(subsets) == {"Chat": 0.75, "Reasoning": pytest.approx((0.5 + 0.625) / 2)}
    full = subsets | {"donotanswer": of(1, 1), "mt-bench-hard": of(0.25, 1), "mine": of(0, 9)}
    assert sections(full)["average"] == pytest.approx((0.75 + 0.25 + 1 + 0.5625) / 4)
    assert sections({"mine": of(1, 2)}) == {}
