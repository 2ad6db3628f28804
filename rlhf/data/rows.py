"""Records become rows of token ids: one row an example, its prompt once and every response after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from rlhf.data.cuts import Fitted, PromptTokens, PromptTooLong, Tally, Truncate, fit
from rlhf.data.judged import Judged, judged
from rlhf.data.records import (
    Demonstration,
    Document,
    Kind,
    Prompt,
    Record,
    StepLabelled,
    as_demonstration,
    margins_of,
    place_of,
    prompt_of,
    responses_of,
)
from rlhf.data.row import Row
from rlhf.data.steps import labelled_ends
from rlhf.data.templates.chat_text import Refused
from rlhf.data.templates.template import Template
from rlhf.errors import DataError

__all__ = ["REFUSED", "Row", "TrainOn", "make_rows"]

REFUSED = "refused_by_template"

TrainOn = Literal["all", "last"]

RIGHT = 0.5
"""A step whose label is at least this counts as right."""


def make_rows(
    records: Iterable[Record],
    kind: Kind,
    template: Template,
    max_length: int,
    on_error: str = "stop",
    train_on: TrainOn = "all",
    truncate: Truncate = "prompt",
    separator: str = "\n",
) -> tuple[list[Row], dict[str, int]]:
    """Rows of at most `max_length` tokens on every path from the first prompt token to a response's end.

    Records may hold more than `kind` needs: the best answer of a comparison serves as a demonstration, its answers as
    labelled ones, the prompt of anything as a prompt, and whole conversations as documents. Labelled answers to one
    prompt make one row. What is too long is cut or dropped by one policy, see
    `cuts.py`; a prompt is cut once for all its responses.

    Args:
        max_length: tokens. For comparisons it bounds the prompt and the longest response, not the sum of all; for
            prompts, the prompt alone (the caller keeps room for the answer).
        on_error: at a conversation that the template refuses (a system turn, two turns of one role, …): `stop`, or
            `skip` it and count it.
        train_on: of a demonstration of several turns, learn `all` of the assistant's, or the `last`.
        truncate: what may be cut; of documents, which go in blocks, nothing is.
        separator: what stands between two steps of an answer, of records in steps.

    Returns:
        The rows, and counts: `rows`, `without_pairs` (rankings that are all ties), those of `cuts.Tally`, of labels
        `desirable` and `undesirable`, of steps `right_steps` and `wrong_steps`, and, where there are some,
        `refused_by_template` and `without_judged_step`.

    Raises:
        DataError: the template refuses a conversation, or its tokens don't show where steps end; the message begins
            with its `file:line`.
        TypeError: a record that holds less than `kind` needs (readers refuse such files before).
    """
    if kind == "documents":
        return _blocks(records, template, max_length, on_error)
    rows: list[Row] = []
    tally, counts = Tally(), {"without_pairs": 0}
    numbered: Iterable[tuple[int, Any]] = judged(records) if kind == "labels" else enumerate(records)
    for index, record in numbered:
        try:
            if kind == "demonstrations" and (demonstration := _of_several_turns(record)) is not None:
                found = _turns(demonstration, template, max_length, index, train_on, truncate, tally)
                counts["without_answer"] = counts.get("without_answer", 0) + (found is None)
                rows += found or []
                continue
            prompt, texts, pairs = _parts(record, kind, separator)
            if kind == "comparisons" and not pairs:
                counts["without_pairs"] += 1
                continue
            responses = [template.response(text) for text in texts]
            row = _fitted(template, prompt, texts, responses, pairs, max_length, index, truncate, tally)
            if row is not None and kind == "steps":
                row = _with_steps(row, record, responses[0], template, separator)
                counts["without_judged_step"] = counts.get("without_judged_step", 0) + (row is None)
            if row is not None:
                rows.append(_described(row, record, kind, pairs))
        except Refused as error:
            _refuse(error, record, on_error)
            counts[REFUSED] = counts.get(REFUSED, 0) + 1
    if kind == "labels":
        labels = [label for row in rows for label in row.labels]
        counts |= {"desirable": sum(labels), "undesirable": len(labels) - sum(labels)}
    if kind == "steps":
        right = [said >= RIGHT for row in rows for labels in row.step_labels for said in labels]
        counts |= {"right_steps": sum(right), "wrong_steps": len(right) - sum(right)}
    return rows, {"rows": len(rows), **tally.counts(), **counts}


def _fitted(
    template: Template,
    prompt: Prompt,
    texts: Sequence[str],
    responses: Sequence[Sequence[int]],
    pairs: tuple[tuple[int, int], ...],
    max_length: int,
    index: int,
    truncate: Truncate,
    tally: Tally,
) -> Row | None:
    """A row that fits; `None` where the example is dropped."""
    whole = template.prompt(prompt)
    length = len(whole.ids) + max(map(len, responses), default=0)
    try:
        found = fit(whole, partial(template.prompt, prompt), responses, max_length, truncate)
    except PromptTooLong as error:
        tally.drop(length, error)
        return None
    # Two answers that begin alike may be the same one once their ends are gone.
    left = tuple((a, b) for a, b in pairs if found.responses[a] != found.responses[b])
    if pairs and not left:
        tally.drop(length)
        return None
    tally.keep(length, found)
    written = zip(texts, found.responses, responses, strict=True)
    n_bytes = sum(
        len((text if len(kept) == len(ids) else template.parse(kept)).encode()) for text, kept, ids in written
    )
    return Row(found.prompt.ids, found.responses, left, n_bytes, index)


def _with_steps(row: Row, record: StepLabelled, whole: Sequence[int], template: Template, separator: str) -> Row | None:
    """With where its judged steps end; `None` where none of them is left of a response that lost its end.

    Args:
        whole: the response's tokens before it was cut.
    """
    ends = labelled_ends(record.steps, whole, template.tokenizer.token_bytes, separator)
    if ends is None:
        place = f"{found}: " if (found := place_of(record)) else ""
        raise DataError(
            f"{place}the tokens of {template.tokenizer.name} don't show where the {len(record.steps)} steps end; "
            f"choose another algo.step_separator than {separator!r}"
        )
    kept = [
        (end, label)
        for end, label in zip(ends, record.labels, strict=True)
        if label is not None and end < len(row.responses[0])
    ]
    if not kept:
        return None
    places, labels = zip(*kept, strict=True)
    return replace(row, step_ends=(places,), step_labels=(labels,))


def _described(row: Row, record: Any, kind: Kind, pairs: tuple[tuple[int, int], ...]) -> Row:
    """With what the record says of its responses, or of its prompt."""
    if kind == "labels":
        return replace(row, labels=record.desirable)
    if kind == "prompts":
        return replace(row, source=prompt_of(record))
    margins = dict(zip(pairs, margins_of(record), strict=False))
    return replace(row, margins=tuple(margins[pair] for pair in row.pairs)) if margins else row


def _refuse(error: Refused, record: Record, on_error: str) -> None:
    if on_error == "stop":
        place = f"{found}: " if (found := place_of(record)) else ""
        raise DataError(f"{place}{error}; change the conversation, or pass data.on_error=skip") from error


def _parts(
    record: Record | Judged, kind: Kind, separator: str
) -> tuple[Prompt, Sequence[str], tuple[tuple[int, int], ...]]:
    if isinstance(record, Judged):
        return record.prompt, record.responses, ()
    if isinstance(record, StepLabelled) and kind == "steps":
        return record.prompt, (record.text(separator),), ()
    prompt = prompt_of(record)
    if prompt is None:
        raise TypeError(f"a document can't serve as one of the {kind}")
    if kind == "prompts":
        return prompt, (), ()
    if isinstance(record, Document | Prompt | StepLabelled) or kind == "steps":
        raise TypeError(f"a {type(record).__name__.lower()} can't serve as one of the {kind}")
    texts, pairs = responses_of(as_demonstration(record) if kind == "demonstrations" else record)
    return prompt, texts, pairs


def _of_several_turns(record: Record) -> Demonstration | None:
    """The demonstration of a record, where it is not just its last turn that may be learnt."""
    if isinstance(record, Document | Prompt | StepLabelled):
        return None
    found = as_demonstration(record)
    return found if any(found.learnt[:-1]) or not found.learnt[-1] or found.extras else None


def _turns(
    record: Demonstration,
    template: Template,
    max_length: int,
    index: int,
    train_on: TrainOn,
    truncate: Truncate,
    tally: Tally,
) -> list[Row] | None:
    """One row of a conversation, in which all of its answers are learnt, or a row for each of them.

    One is as good as several where the template writes an earlier turn as it writes the last, its end included, and
    the whole fits. Templates that cut thoughts out of earlier answers, or end the last one alone, need several.
    `None` where nothing is left to learn.
    """
    turns = (*record.prompt.turns, ("assistant", record.response))
    places = [place for place, (role, _) in enumerate(turns) if role == "assistant"]
    learnt = [place for place, weight in zip(places, record.learnt, strict=True) if weight]
    if train_on == "last":
        learnt = [place for place in learnt if place == places[-1]]
    if not learnt:
        return None
    whole = template.conversation(record) if len(learnt) > 1 else None
    if whole is not None:
        ids, spans = whole
        mine = [spans[place] for place in learnt]
        (first, _), (_, last) = mine[0], mine[-1]
        if last <= max_length:
            gaps = tuple((stop - first, start - first) for (_, stop), (start, _) in pairwise(mine))
            n_bytes = sum(len(turns[place][1].encode()) for place in learnt)
            tally.keep(last, Fitted(PromptTokens(()), ()))
            return [Row(tuple(ids[:first]), (tuple(ids[first:last]),), (), n_bytes, index, gaps)]
    rows = []
    extras = dict(record.prompt.extras) | {len(turns) - 1: record.extras}
    for place in learnt:
        prompt = replace(
            record.prompt, turns=turns[:place], extras=tuple((i, e) for i, e in record.prompt.extras if i < place)
        )
        text = turns[place][1]
        responses = [template.response(text, extras.get(place, ""))]
        row = _fitted(template, prompt, [text], responses, (), max_length, index, truncate, tally)
        rows += [row] if row is not None else []
    return rows


def _blocks(
    records: Iterable[Record], template: Template, max_length: int, on_error: str
) -> tuple[list[Row], dict[str, int]]:
    """The stream `text <eos> text <eos> ...` in blocks, each after one start token, so each token is predicted once."""
    if max_length < 2:
        raise ValueError(f"blocks need max_length >= 2, got {max_length}")
    stream: list[int] = []
    refused = 0
    for record in records:
        try:
            stream += _document(record, template)
        except Refused as error:
            _refuse(error, record, on_error)
            refused += 1
    tokenizer = template.tokenizer
    counted = set(stream) - {tokenizer.eos_id, *tokenizer.prefix_ids}
    sizes = {token: len(tokenizer.token_bytes(token)) for token in counted}
    step = max_length - 1
    rows: list[Row] = []
    start = 0
    while start < len(stream):
        # The token that the block starts after is the document's own begin-of-text, where one begins here.
        start += bool(tokenizer.prefix_ids) and stream[start] == template.start_id
        block = tuple(stream[start : start + step])
        start += step
        if not block:
            break
        n_bytes = sum(sizes.get(token, 0) for token in block)
        rows.append(Row((template.start_id,), (block,), (), n_bytes, len(rows)))
    counts = {"rows": len(rows), "cut_prompts": 0, "dropped_too_long": 0, "without_pairs": 0}
    return rows, counts | ({REFUSED: refused} if refused else {})


def _document(record: Record, template: Template) -> list[int]:
    """Its tokens, after the begin-of-text that the tokenizer prepends, once: templates may write it too."""
    prefix = list(template.tokenizer.prefix_ids)
    if isinstance(record, Document):
        return [*prefix, *template.tokenizer.encode(record.text), template.tokenizer.eos_id]
    if isinstance(record, Prompt | StepLabelled):
        raise TypeError(f"a {type(record).__name__.lower()} can't serve as one of the documents")
    demonstration = as_demonstration(record)
    response = template.response(demonstration.response, demonstration.extras)
    prompt = list(template.prompt(demonstration.prompt).ids)
    return [*([] if prompt[: len(prefix)] == prefix else prefix), *prompt, *response]
