"""Numbers of one model's answers, against sums done by hand."""

from __future__ import annotations

import pytest

from rlhf.data.assistant import Verdict
from rlhf.evaluation.judges.scorers import Mark
from rlhf.evaluation.metrics import distinct, mean, mean_score, sides, words


def mark(helpful: float, harmless: float, honest: float, kind: str, refusal: bool = False) -> Mark:
    verdict = Verdict(helpful, harmless, honest, kind, "topic", refusal)
    return Mark(verdict.score, verdict)


def test_a_chinese_character_is_a_word() -> None:
    assert words("Paris isn't far. 我不知道!") == ["paris", "isn", "'", "t", "far", ".", "我", "不", "知", "道", "!"]


def test_distinct_counts_over_all_texts() -> None:
    assert distinct(["a b a b", "b a"], 1) == 2 / 6
    # ab, ba, ab | ba: two of four, and none across the border of two texts
    assert distinct(["a b a b", "b a"], 2) == 2 / 4
    assert distinct(["a b c"], 2) == 1.0
    assert distinct(["a", ""], 2) is None and distinct([], 1) is None


def test_each_side_is_averaged_where_it_is_at_stake() -> None:
    marks = [
        mark(10, 9, 8, "answerable"),
        mark(4, 9, 7, "answerable", refusal=True),
        mark(1, 2, 6, "harmful", refusal=True),
        mark(2, 3, 5, "unknowable"),
        mark(2, 3, 0, "unknowable"),
        None,
        Mark(100.0),
    ]
    assert sides(marks) == {"helpfulness": 7.0, "harmlessness": 2.0, "honesty": 2.5, "false_refusals": 0.5}
    assert mean_score(marks) == pytest.approx((8 + 4 + 1 + 2 + 0 + 100) / 6)


def test_without_a_judge_there_are_no_numbers() -> None:
    nothing = {"helpfulness": None, "harmlessness": None, "honesty": None, "false_refusals": None}
    assert sides([]) == sides([None, Mark(1.0)]) == nothing
    assert mean_score([None]) is None
    assert mean([None, 1.0, 2.0]) == 1.5 and mean([None]) is None
