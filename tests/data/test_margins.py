"""How much better the better answer is: read with comparisons and rankings, and carried to the batch."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf.data.batch import collate
from rlhf.data.files.values import BadRecord
from rlhf.data.formats.parse import parse
from rlhf.data.records import Comparison, Prompt, Ranking, Record, margins_of, responses_of
from rlhf.data.rows import Row, make_rows
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer

HI = Prompt.of("hi")


def read(value: dict[str, Any]) -> Record:
    (found,) = parse({"prompt": "hi", **value}, "comparisons")
    assert not isinstance(found, BadRecord), str(found)
    return found


def answer(text: str, rank: int, score: Any = None) -> dict[str, Any]:
    return {"text": text, "rank": rank} | ({} if score is None else {"score": score})


def test_a_comparison_may_have_a_margin() -> None:
    assert margins_of(read({"chosen": "a", "rejected": "b", "margin": 1.5})) == (1.5,)
    assert margins_of(read({"chosen": "a", "rejected": "b", "margin": 0})) == (0.0,)
    assert margins_of(read({"chosen": "a", "rejected": "b"})) == ()
    chat = {"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}
    assert margins_of(read({**chat, "margin": "2"})) == (2.0,)


@pytest.mark.parametrize("margin", [-0.5, "much", True, float("inf")])
def test_a_margin_that_is_none_is_refused(margin: Any) -> None:
    (error,) = parse({"prompt": "hi", "chosen": "a", "rejected": "b", "margin": margin}, "comparisons")
    assert isinstance(error, BadRecord) and str(error).startswith("margin ")


def test_a_rankings_margins_are_differences_of_scores() -> None:
    record = read({"responses": [answer("a", 2, 6), answer("b", 1, 9.5), answer("c", 2, 5)]})
    assert responses_of(record)[1] == ((1, 0), (1, 2))  # type: ignore[arg-type]
    assert margins_of(record) == (3.5, 4.5)


@pytest.mark.parametrize("scores", [(None, 1), (2, 1), ("high", 1)], ids=str)
def test_scores_that_are_missing_or_contradict_the_ranks_are_no_margins(scores: tuple[Any, Any]) -> None:
    assert margins_of(read({"responses": [answer("a", 2, scores[0]), answer("b", 1, scores[1])]})) == ()


def test_ultrafeedback_has_margins() -> None:
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}]
    value = {"chosen": chat, "rejected": [chat[0], {"role": "assistant", "content": "b"}]}
    assert margins_of(read({**value, "score_chosen": 8.5, "score_rejected": 7.0})) == (1.5,)
    assert margins_of(read({**value, "score_chosen": 7.0, "score_rejected": 8.5})) == ()
    rated = [{"response": t, "annotations": {"honesty": {"Rating": str(r)}}} for t, r in (("a", 2), ("b", 5))]
    (found,) = parse({"instruction": "hi", "completions": rated}, "comparisons")
    assert not isinstance(found, BadRecord) and margins_of(found) == (3.0,)


def test_margins_reach_the_batch_with_their_pairs() -> None:
    template = template_for(load_tokenizer("tiny"))
    records = [
        Ranking(HI, ("x", "yy", "zzz"), (3, 1, 2), scores=(1.0, 4.0, 2.0)),
        Comparison(HI, "good", "bad", margin=0.5),
        Comparison(HI, "good", "bad"),
    ]
    rows, _ = make_rows(records, "comparisons", template, 64)
    assert [dict(zip(row.pairs, row.margins, strict=False)) for row in rows] == [
        {(1, 0): 3.0, (1, 2): 2.0, (2, 0): 1.0},
        {(0, 1): 0.5},
        {},
    ]
    batch = collate(rows)
    assert batch.pair_margins.tolist() == [*rows[0].margins, 0.5, 0.0]


def test_a_pair_that_is_cut_away_takes_its_margin_along() -> None:
    """Answers that begin alike are the same once their ends are gone."""
    template = template_for(load_tokenizer("tiny"))
    long = "abc " * 40
    record = Ranking(HI, (long + "x", long + "y", "no"), (1, 2, 3), scores=(9.0, 7.0, 1.0))
    ((row,), _) = make_rows([record], "comparisons", template, 40, truncate="response")
    assert dict(zip(row.pairs, row.margins, strict=True)) == {(0, 2): 8.0, (1, 2): 6.0}


def test_rows_of_other_kinds_have_none() -> None:
    template = template_for(load_tokenizer("tiny"))
    rows, _ = make_rows([Comparison(HI, "good", "bad", margin=0.5)], "demonstrations", template, 64)
    assert [row.margins for row in rows] == [()]
    assert Row((1,)).margins == ()
