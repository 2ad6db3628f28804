"""Tables of labels: agreement of each two annotators, over time, disagreements, and how noisy labels are."""

from __future__ import annotations

import pytest
import torch

from rlhf.evaluation.agreement import (
    FIRST,
    SECOND,
    TIE,
    agreement_of,
    agreement_record,
    alphas,
    disputed,
    labels_from,
    majority_of,
    over_time,
    weighted_of,
)

# ada and bob agree on a, c and d; eve saw three items and agrees with them on d.
VOTES = [
    *(("ada", item, value) for item, value in zip("abcd", (FIRST, FIRST, TIE, SECOND), strict=True)),
    *(("bob", item, value) for item, value in zip("abcd", (FIRST, SECOND, TIE, SECOND), strict=True)),
    *(("eve", item, value) for item, value in zip("bcd", (SECOND, FIRST, SECOND), strict=True)),
]


def test_pairs_by_hand() -> None:
    labels = labels_from(VOTES)
    assert labels.counts.tolist() == [[2, 0, 0], [1, 0, 2], [1, 2, 0], [0, 0, 3]]
    # ada–bob 3 of 4, ada–eve 1 of 3 (d), bob–eve 2 of 3 (b, d).
    found = agreement_record(labels)
    assert {(p["first"], p["second"]): (round(p["share"] * p["n"]), p["n"]) for p in found["pairs"]} == {
        ("ada", "bob"): (3, 4),
        ("ada", "eve"): (1, 3),
        ("bob", "eve"): (2, 3),
    }
    assert found["agreement"]["share"] == pytest.approx(6 / 10) and found["agreement"]["n"] == 10
    assert found["annotators"]["bob"]["with_others"]["share"] == pytest.approx(5 / 7)
    assert (found["annotators"]["ada"]["votes"], found["annotators"]["ada"]["ties"]) == (4, 1)
    # Pairs without a tie: a 1, b 3, d 3, of which 1, 1 and 3 agree: 5 of 7, and ε = (1 − √(3/7)) / 2.
    assert found["noise"]["n"] == 7 and found["noise"]["label"] == pytest.approx((1 - (3 / 7) ** 0.5) / 2)


def test_a_second_label_by_the_same_annotator_replaces_the_first() -> None:
    assert labels_from([("ada", "a", FIRST), ("ada", "a", SECOND)]).counts.tolist() == [[0, 0, 1]]


def test_the_majority_and_ties_of_it() -> None:
    labels = labels_from(VOTES)
    assert majority_of(labels).tolist() == [FIRST, SECOND, TIE, SECOND]
    split = labels_from([("ada", "a", FIRST), ("bob", "a", SECOND)])
    assert majority_of(split).tolist() == [TIE]


def test_weights_follow_who_agrees_with_others() -> None:
    """Two who always agree outweigh one who contradicts them, and, where they are silent, one of them outweighs him."""
    votes = []
    for i in range(40):
        value = FIRST if i % 2 else SECOND
        votes += [(name, f"{i}", value) for name in ("ada", "bob")] + [("eve", f"{i}", TIE)]
    votes += [("ada", "last", FIRST), ("eve", "last", TIE)]
    labels = labels_from(votes)
    assert int(majority_of(labels)[-1]) == TIE
    assert int(weighted_of(labels)[-1]) == FIRST


def test_a_single_label_stands_and_says_nothing_of_its_annotator() -> None:
    """EM over labels that nobody shares turns all of them into the commonest value."""
    alone = labels_from([("ada", f"{i}", FIRST) for i in range(9)] + [("ada", "last", SECOND)])
    assert weighted_of(alone).tolist() == [FIRST] * 9 + [SECOND]
    assert agreement_record(alone)["annotators"]["ada"]["accuracy"] is None
    shared = [(name, f"{i}", FIRST) for i in range(3) for name in ("ada", "bob")]
    both = labels_from([*shared, ("ada", "last", SECOND), ("ada", "tie", TIE)])
    assert weighted_of(both).tolist() == [FIRST] * 3 + [SECOND, TIE]
    found = agreement_record(both)
    assert found["annotators"]["ada"]["accuracy"] == pytest.approx(1, abs=1e-3)
    assert found["noise"]["dawid_skene"] == pytest.approx(0, abs=1e-3)


def test_what_two_agree_on_is_not_turned_by_the_commonest_value() -> None:
    votes = [(name, f"{i}", FIRST) for i in range(3) for name in ("ada", "bob")]
    votes += [(name, "last", SECOND) for name in ("ada", "bob")]
    votes += [("ada", "other", FIRST), ("bob", "other", SECOND)]
    assert weighted_of(labels_from(votes)).tolist()[:4] == [FIRST] * 3 + [SECOND]


def test_weights_that_are_equal_make_a_tie() -> None:
    votes = [
        (name, f"{i}", value) for i in range(10) for name, value in (("ada", 2 * (i % 2)), ("bob", 2 - 2 * (i % 2)))
    ]
    assert weighted_of(labels_from(votes)).tolist() == [TIE] * 10
    # Two who agree on all else.
    votes = [(name, f"{i}", 2 * (i % 2)) for i in range(12) for name in ("ada", "bob")]
    votes += [("ada", "last", FIRST), ("bob", "last", SECOND)]
    assert int(weighted_of(labels_from(votes))[-1]) == TIE


def test_time_is_cut_into_equal_stretches() -> None:
    votes = []
    for i in range(80):
        # They agree in the first half, and never after it.
        votes += [("ada", f"{i}", FIRST), ("bob", f"{i}", FIRST if i < 40 else SECOND)]
    found = over_time(labels_from(votes))
    assert [window["share"] for window in found] == [1, 1, 0, 0] and {window["n"] for window in found} == {20}
    assert (found[0]["from"], found[-1]["to"]) == (1, 159)
    assert over_time(labels_from([("ada", "a", FIRST)])) == []


def test_disagreements_the_least_certain_first() -> None:
    labels = labels_from(VOTES)
    assert {labels.items[place] for place in disputed(labels, 5)} == {"b", "c"}
    assert len(disputed(labels, 1)) == 1


def test_intervals_hold_the_value_and_say_when_there_is_none() -> None:
    drawn = torch.Generator().manual_seed(1)
    votes = [
        (name, f"{i}", int(torch.randint(3, (), generator=drawn))) for i in range(60) for name in ("ada", "bob", "eve")
    ]
    for found in alphas(labels_from(votes)).values():
        assert found["low"] < found["value"] < found["high"] and found["low"] < 0 < found["high"], "chance"
    assert alphas(labels_from([("ada", "a", FIRST), ("bob", "a", FIRST)]))["nominal"]["value"] is None
    assert agreement_of(labels_from([("ada", "a", FIRST)])) is None
    assert agreement_record(labels_from([("ada", "a", FIRST)]))["noise"] is None
