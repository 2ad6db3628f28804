"""Labelled answers, those in comparisons too, become rows that share their prompts; and prompts get others' answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rlhf.data.batch import collate
from rlhf.data.judged import TOGETHER, judged, labels_of
from rlhf.data.mismatched import mismatched
from rlhf.data.readers import read
from rlhf.data.records import Comparison, Demonstration, Labelled, Prompt, Ranking
from rlhf.data.rows import Row, make_rows
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer

HI, BYE = Prompt.of("hi"), Prompt.of("bye")


def test_a_comparison_has_one_answer_of_each_kind() -> None:
    assert labels_of(Comparison(HI, "good", "bad")) == [("good", True), ("bad", False)]


def test_each_comparison_of_a_ranking_votes() -> None:
    # Of five, with the second and third tied: wins − losses are 4, 1, 1, −2, −4.
    ranking = Ranking(HI, ("a", "b", "c", "d", "e"), (1, 2, 2, 3, 4))
    assert labels_of(ranking) == [("a", True), ("b", True), ("c", True), ("d", False), ("e", False)]
    # The middle one of three wins as often as it loses.
    assert labels_of(Ranking(HI, ("a", "b", "c"), (2, 1, 3))) == [("b", True), ("c", False)]
    assert labels_of(Ranking(HI, ("a", "b"), (1, 1))) == []
    with pytest.raises(TypeError):
        labels_of(Demonstration(HI, "a"))


def test_answers_to_one_prompt_are_gathered() -> None:
    records = [Labelled(HI, "a", True), Labelled(BYE, "b", False), Labelled(HI, "c", False)]
    found = judged(records)
    assert [(i, one.prompt, one.responses, one.desirable) for i, one in found] == [
        (0, HI, ("a", "c"), (True, False)),
        (1, BYE, ("b",), (False,)),
    ]
    many = judged([Labelled(HI, str(n), True) for n in range(TOGETHER + 1)])
    assert [(i, len(one.responses)) for i, one in many] == [(0, TOGETHER), (TOGETHER, 1)]


def test_rows_and_batches_carry_the_labels() -> None:
    template: Any = template_for(load_tokenizer("tiny"))
    records = [Labelled(HI, "a", True), Ranking(HI, ("b", "c"), (2, 1)), Ranking(BYE, ("d", "e"), (1, 1))]
    rows, counts = make_rows(records, "labels", template, 64)
    assert [row.labels for row in rows] == [(True, False, True)] and rows[0].pairs == ()
    assert (counts["rows"], counts["desirable"], counts["undesirable"]) == (1, 2, 1)
    unlabelled = Row((1,), ((2,),))
    assert collate([unlabelled, *rows]).desirable.tolist() == [False, True, False, True]


def test_files_of_comparisons_serve_as_labels(tmp_path: Any) -> None:
    file = tmp_path / "mixed.jsonl"
    file.write_text(
        '{"prompt": "hi", "chosen": "a", "rejected": "b"}\n{"prompt": "hi", "completion": "c", "label": false}\n',
        encoding="utf-8",
    )
    assert read(file, "labels").items == [Comparison(HI, "a", "b"), Labelled(HI, "c", False)]


ROWS = [
    Row((1, n), ((n, 0), (n, n, 0))[: 1 + n % 2], index=10 + n, labels=(True, False)[: 1 + n % 2]) for n in range(9)
]


def test_every_prompt_gets_the_answers_of_another() -> None:
    found = mismatched(ROWS, 64, seed=1)
    assert [row.prompt for row in found] == [row.prompt for row in ROWS]
    assert [row.index for row in found] == [row.index for row in ROWS]
    assert sorted(row.responses for row in found) == sorted(row.responses for row in ROWS), "each once"
    assert all(mine.responses != theirs.responses for mine, theirs in zip(found, ROWS, strict=True))
    assert found == mismatched(ROWS, 64, seed=1) != mismatched(ROWS, 64, seed=2)
    assert all(row.length <= 2 + 2 for row in mismatched([replace(r, responses=r.responses[:1]) for r in ROWS], 4, 1))


def test_what_is_too_long_for_a_longer_prompt_loses_its_end() -> None:
    short, long = Row((1,), ((2, 3, 0),), index=0), Row((4, 4, 4), ((0,),), index=1)
    assert [row.responses for row in mismatched([short, long], 4, 1)] == [((0,),), ((2,),)]


def test_one_prompt_alone_has_no_others() -> None:
    assert mismatched([ROWS[1], replace(ROWS[1], index=0)], 64, 1) == []
    assert mismatched([], 64, 1) == []
    # Two rows of one prompt are passed over.
    found = mismatched([ROWS[1], replace(ROWS[1], index=0), ROWS[2]], 64, 1)
    assert [row.responses for row in found] == [ROWS[2].responses] * 2 + [ROWS[1].responses]
