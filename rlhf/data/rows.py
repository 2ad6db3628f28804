"""Records become rows of token ids: one row an example, its prompt once and every response after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlhf.data.chat_text import Refused
from rlhf.data.records import Document, Kind, Prompt, Record, as_demonstration, place_of, prompt_of, responses_of
from rlhf.data.templates import PromptTooLong, Template
from rlhf.errors import DataError

REFUSED = "refused_by_template"


@dataclass(frozen=True)
class Row:
    """One example in tokens.

    Attributes:
        prompt: ids that are read and never trained on.
        responses: ids of each response, end-of-text included; each continues the prompt on its own.
        pairs: (better, worse) indices into `responses`.
        n_bytes: UTF-8 bytes of the responses' text, for bits per byte.
        index: position in the data set the row was made from (documents: number of the block).
    """

    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    n_bytes: int = 0
    index: int = 0

    @property
    def length(self) -> int:
        """Tokens in the row: the prompt once and all responses."""
        return len(self.prompt) + sum(map(len, self.responses))


def make_rows(
    records: Iterable[Record], kind: Kind, template: Template, max_length: int, on_error: str = "stop"
) -> tuple[list[Row], dict[str, int]]:
    """Rows of at most `max_length` tokens on every path from the first prompt token to a response's end.

    Records may hold more than `kind` needs: the best answer of a comparison serves as a demonstration, the prompt of
    anything as a prompt, and whole conversations as documents. A prompt too long loses the front of its text, by one
    cut for all its responses; a response is never cut.

    Args:
        max_length: tokens. For comparisons it bounds the prompt and the longest response, not the sum of all; for
            prompts, the prompt alone (the caller keeps room for the answer).
        on_error: at a conversation that the template refuses (a system turn, two turns of one role, …): `stop`, or
            `skip` it and count it.

    Returns:
        The rows, and counts: `rows`, `cut_prompts`, `dropped_too_long`, `without_pairs` (rankings that are all ties)
        and, where there are some, `refused_by_template`.

    Raises:
        DataError: the template refuses a conversation; the message begins with its `file:line`.
        TypeError: a record that holds less than `kind` needs (readers refuse such files before).
    """
    if kind == "documents":
        return _blocks(records, template, max_length, on_error)
    rows: list[Row] = []
    counts = Counter(rows=0, cut_prompts=0, dropped_too_long=0, without_pairs=0)
    for index, record in enumerate(records):
        prompt, texts, pairs = _parts(record, kind)
        if kind == "comparisons" and not pairs:
            counts["without_pairs"] += 1
            continue
        try:
            responses = tuple(tuple(template.response(text)) for text in texts)
            room = max_length - max(map(len, responses), default=0)
            tokens = template.prompt(prompt, room)
        except PromptTooLong:
            counts["dropped_too_long"] += 1
            continue
        except Refused as error:
            _refuse(error, record, on_error)
            counts[REFUSED] += 1
            continue
        counts["cut_prompts"] += tokens.cut > 0
        n_bytes = sum(len(text.strip().encode()) for text in texts)
        rows.append(Row(tokens.ids, responses, pairs, n_bytes, index))
    counts["rows"] = len(rows)
    return rows, dict(counts)


def _refuse(error: Refused, record: Record, on_error: str) -> None:
    if on_error == "stop":
        place = f"{found}: " if (found := place_of(record)) else ""
        raise DataError(f"{place}{error}; change the conversation, or pass data.on_error=skip") from error


def _parts(record: Record, kind: Kind) -> tuple[Prompt, Sequence[str], tuple[tuple[int, int], ...]]:
    prompt = prompt_of(record)
    if prompt is None:
        raise TypeError(f"a document can't serve as one of the {kind}")
    if kind == "prompts":
        return prompt, (), ()
    if isinstance(record, Document | Prompt):
        raise TypeError(f"a {type(record).__name__.lower()} can't serve as one of the {kind}")
    texts, pairs = responses_of(as_demonstration(record) if kind == "demonstrations" else record)
    return prompt, texts, pairs


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
    sizes = {token: len(tokenizer.token_bytes(token)) for token in set(stream) - {tokenizer.eos_id}}
    step = max_length - 1
    rows: list[Row] = []
    for start in range(0, len(stream), step):
        block = tuple(stream[start : start + step])
        n_bytes = sum(sizes.get(token, 0) for token in block)
        rows.append(Row((template.start_id,), (block,), (), n_bytes, len(rows)))
    counts = {"rows": len(rows), "cut_prompts": 0, "dropped_too_long": 0, "without_pairs": 0}
    return rows, counts | ({REFUSED: refused} if refused else {})


def _document(record: Record, template: Template) -> list[int]:
    if isinstance(record, Document):
        return [*template.tokenizer.encode(record.text), template.tokenizer.eos_id]
    if isinstance(record, Prompt):
        raise TypeError("a prompt can't serve as one of the documents")
    demonstration = as_demonstration(record)
    return [*template.prompt(demonstration.prompt).ids, *template.response(demonstration.response)]
