"""Answers in steps: where each ends in tokens, which labels are left of what was cut, and files of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlhf.data.batch import collate
from rlhf.data.dataset import load
from rlhf.data.readers import read
from rlhf.data.records import Prompt, StepLabelled
from rlhf.data.row import Row
from rlhf.data.rows import make_rows
from rlhf.data.steps import labelled_ends, step_ends
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.data.unfolding import unfolded
from rlhf.errors import DataError
from tests.data.formats.format_examples import EXAMPLES, HI, said
from tests.data.formats.format_examples import read as parsed

TEMPLATE = template_for(load_tokenizer("gpt2"))


def letters(token: int) -> bytes:
    """Tokens of a world in which each is a character; 0 ends a text."""
    return chr(token).encode() if token else b""


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("a\nb", (1, 3)),
        ("a\n\nb\n", (1, 5)),  # what follows the last step belongs to it
        ("\n a", (3,)),  # nothing in front of the first
        ("", (0,)),
        ("\n\n", (2,)),
    ],
)
def test_steps_end_where_their_separator_is_complete(text: str, ends: tuple[int, ...]) -> None:
    assert step_ends([*map(ord, text), 0], letters, "\n") == ends


def test_an_answer_that_was_cut_and_separators_of_several_tokens() -> None:
    assert step_ends(list(map(ord, "a\nb")), letters, "\n") == (1, 2)
    assert step_ends(list(map(ord, "a\nb\n")), letters, "\n") == (1, 3)
    assert step_ends([*map(ord, "a##b#c##"), 0], letters, "##") == (2, 8)
    # A token may hold an end and what comes after it.
    assert step_ends([1, 2, 0], lambda token: {1: b"a\nb", 2: b"c", 0: b""}[token], "\n") == (0, 2)


def test_a_step_with_a_separator_in_it_is_judged_at_its_last_end() -> None:
    ids = [*map(ord, "a\nb\nc"), 0]
    assert labelled_ends(("a\nb", "c"), ids, letters, "\n") == (3, 5)
    assert labelled_ends(("a", " b\n", "\nc"), ids, letters, "\n") == (1, 3, 5)
    assert labelled_ends(("a", "b"), ids, letters, "\n") is None


RECORD = StepLabelled(Prompt.of("hi"), ("one and two ", "three", "four five"), (1.0, None, 0.25))


def test_rows_of_steps() -> None:
    (row,), counts = make_rows([RECORD], "steps", TEMPLATE, 64)
    response = row.responses[0]
    assert TEMPLATE.parse(response) == "one and two\nthree\nfour five"
    (ends,) = row.step_ends
    assert TEMPLATE.parse(response[: ends[0] + 1]) == "one and two\n" and ends[1] == len(response) - 1
    assert row.step_labels == ((1.0, 0.25),)
    assert (counts["right_steps"], counts["wrong_steps"], counts["without_judged_step"]) == (1, 1, 0)
    (other,), _ = make_rows([RECORD], "steps", TEMPLATE, 64, separator=" ## ")
    assert TEMPLATE.parse(other.responses[0]) == "one and two ## three ## four five" and len(other.step_ends[0]) == 2


def test_labels_of_what_was_cut_are_gone() -> None:
    prompt = len(TEMPLATE.prompt(HI).ids)
    long = StepLabelled(HI, ("one two", "three " * 20), (0.0, 1.0))
    rows, counts = make_rows(
        [long, StepLabelled(HI, ("three " * 30,), (1.0,))], "steps", TEMPLATE, prompt + 12, truncate="response"
    )
    assert [(row.index, row.step_labels) for row in rows] == [(0, ((0.0,),))]
    assert counts["without_judged_step"] == 1


def test_a_separator_that_tokens_hide_is_refused_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TEMPLATE.tokenizer, "token_bytes", lambda token: b"x")
    record = StepLabelled(Prompt((("user", "hi"),), place="data.jsonl:3"), ("a", "b"), (1.0, 1.0))
    with pytest.raises(DataError, match=r"^data\.jsonl:3: .*algo\.step_separator"):
        make_rows([record], "steps", TEMPLATE, 64)


def test_batches_say_where_steps_end_in_either_layout() -> None:
    rows = [
        Row((1, 2), ((3, 4, 5), (6, 7)), step_ends=((0, 2), (1,)), step_labels=((1.0, 0.0), (0.5,))),
        Row((8,), ((9, 10, 11, 12),), step_ends=((2,),), step_labels=((1.0,),)),
    ]
    for batch in (collate(rows), unfolded(collate(rows)), collate(rows[1:])):
        read = batch.tokens[batch.step_rows, batch.step_indices].tolist()
        assert read == [3, 5, 7, 11][-len(read) :]
    batch = collate(rows)
    assert batch.step_response.tolist() == [0, 0, 1, 2] and batch.step_labels.tolist() == [1.0, 0.0, 0.5, 1.0]
    assert len(collate([Row((1,), ((2,),))]).step_labels) == 0


# -- files -------------------------------------------------------------------------------------------------------------


def write(path: Path, *values: Any) -> str:
    path.write_text("\n".join(json.dumps(value) for value in values) + "\n", encoding="utf-8")
    return str(path)


STEPWISE, SHEPHERD, PRM = (EXAMPLES[name][0] for name in ("stepwise", "math_shepherd", "prm800k"))


@pytest.mark.parametrize(
    "bad",
    [
        {**STEPWISE, "labels": [True]},
        {**STEPWISE, "labels": [True, False, 1.5]},
        {**STEPWISE, "labels": [None, None, None]},
        {**STEPWISE, "completions": ["one", " ", "three"]},
        {**STEPWISE, "completions": "one"},
        {**SHEPHERD, "label": SHEPHERD["label"].replace("+1", "+2")},
        {**SHEPHERD, "label": SHEPHERD["label"].replace(" -", " ки")},
        {**SHEPHERD, "input": SHEPHERD["input"] + " more"},
        {**SHEPHERD, "input": SHEPHERD["input"].replace("Step 1:", "")},
        {**PRM, "label": {"steps": [{"completions": [said(2, "x")], "chosen_completion": 0}]}},
        {**PRM, "label": {"steps": [{"completions": [said(1, "x")], "chosen_completion": 3}]}},
        {**PRM, "label": {"steps": "x"}},
    ],
)
def test_a_bad_line_is_refused_with_its_place(bad: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "steps.jsonl", STEPWISE, bad)
    with pytest.raises(DataError, match=r"steps\.jsonl:2\b"):
        read(path, "steps")
    assert len(read(path, "steps", "skip").items) == 1


def test_neutral_ratings_and_what_tells_nothing() -> None:
    strict = [label for found in parsed(PRM, "steps", "prm800k_strict") for label in found.labels]
    assert strict == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert parsed({**PRM, "label": {**PRM["label"], "finish_reason": "bad_problem"}}, "steps") == ["left_out"]
    # The labels in front of a completion that was not chosen are counted once.
    two = {
        "steps": [
            {"completions": [said(1, "a")], "chosen_completion": 0},
            {"completions": [said(1, "b"), said(-1, "c")], "chosen_completion": 0},
        ]
    }
    assert [(found.steps, found.labels) for found in parsed({**PRM, "label": two}, "steps")] == [
        (("a", "b"), (1.0, 1.0)),
        (("a", "c"), (None, 0.0)),
    ]


def test_the_embedded_sums_label_lines_as_they_are() -> None:
    records = load("steps", source="worked_sums").train
    assert len({record.prompt for record in records}) > 100
    shares = []
    for record in records:
        right = True
        for step, label in zip(record.steps, record.labels, strict=True):
            total, result = step.split(" = ")
            right = right and sum(map(int, total.split(" + "))) == int(result)
            assert label == right
        assert right == (int(record.steps[-1].split(" = ")[1]) == int(record.prompt.fields["answer"]))
        shares.append(right)
    assert 0.35 < sum(shares) / len(shares) < 0.5
    for kind in ("demonstrations", "comparisons", "prompts"):
        assert load(kind, source="worked_sums").train  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"^data=worked_sums"):
        load("documents", source="worked_sums")
    with pytest.raises(DataError, match=r"^data=assistant.*worked_sums"):
        load("steps")
