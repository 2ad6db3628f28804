"""How much of the data a tokenizer can't write: tokenizers without byte fallback turn it into `<unk>`, or drop it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rlhf.data.records import Document, Prompt, Record, prompt_of, responses_of
from rlhf.data.rows import Row
from rlhf.data.tokenizers.tokenizer import Tokenizer
from rlhf.errors import DataError

ODD = "\U00013000\u2fd5\u0f12\U0001fabf"
"""Characters that vocabularies rarely have: a tokenizer that can write these can write anything."""


def check_unknown(
    records: Sequence[Record], rows: Sequence[Row], tokenizer: Tokenizer, allowed: float = 1.0, of: str = "examples"
) -> str | None:
    """What to say of texts that the tokenizer can't write; `None` where it writes all of them.

    Args:
        records: what the rows were made from; characters that the tokenizer drops are looked for in their texts.
        allowed: share of tokens, or of characters, up to which it is only said.
        of: what the records are called.

    Raises:
        DataError: the share is larger.
    """
    if tokenizer.decode(tokenizer.encode(ODD)).strip() == ODD:
        return None
    tokens = Counter[int]()
    for row in rows:
        for ids in (row.prompt, *row.responses):
            tokens.update(ids)
    unknown = tokens[tokenizer.unknown_id] if tokenizer.unknown_id is not None else 0
    share, what = unknown / max(1, tokens.total()), "tokens"
    characters = Counter[str]()
    for text in _texts(records):
        characters.update(text)
    lost = {found for found in characters if not found.isspace() and not tokenizer.encode(found)}
    dropped = sum(characters[found] for found in lost) / max(1, characters.total())
    if dropped > share:
        share, what = dropped, "characters"
    if not share:
        return None
    said = (
        f"data.max_unknown: {share:.2%} of the {what} in {of} are unknown to the tokenizer {tokenizer.name}, which "
        f"{'drops them' if what == 'characters' else 'writes <unk> for them'}"
    )
    if share > allowed:
        raise DataError(
            f"{said}, more than {allowed:.0%}; choose a model whose tokenizer knows this language, or raise "
            "data.max_unknown"
        )
    return said


def _texts(records: Iterable[Record]) -> Iterator[str]:
    for record in records:
        if isinstance(record, Document):
            yield record.text
            continue
        prompt = prompt_of(record)
        yield from (text for _, text in (prompt.turns if prompt is not None else ()))
        if not isinstance(record, Prompt):
            yield from responses_of(record)[0]
