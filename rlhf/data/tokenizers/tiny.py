"""The small vocabulary of `model=tiny`, run through tiktoken like GPT-2's.

`tiny_merges.txt` holds its merges, so that no run trains it again and no version of `tokenizers` can change it;
`python -m rlhf.data.tokenizers.tiny` trains it on the embedded task's fixed corpus and writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from rlhf.data.assistant import corpus
from rlhf.data.tokenizers.bpe import END_OF_TEXT, TiktokenTokenizer
from rlhf.data.tokenizers.vocabulary import byte_of_character

TINY_TOKENS = 1000
MERGES = Path(__file__).with_name("tiny_merges.txt")
"""A merge per line, the two tokens in GPT-2's alphabet of bytes, most frequent first."""


@lru_cache(maxsize=4)
def tiny_tokenizer(tokens: int = TINY_TOKENS) -> TiktokenTokenizer:
    """At most `tokens` tokens and end-of-text, as trained on the embedded task's fixed corpus."""
    if tokens != TINY_TOKENS:
        return train_bpe("tiny", corpus(), tokens)
    lines = MERGES.read_text(encoding="utf-8").rstrip("\n").split("\n")
    return _from_merges("tiny", [(left, right) for left, right in (line.split(" ") for line in lines)])


def train_bpe(name: str, texts: Iterable[str], tokens: int) -> TiktokenTokenizer:
    """A byte-level BPE with GPT-2's splitting rule: 256 bytes, then merges, then end-of-text as the last id.

    Args:
        tokens: size of the vocabulary without end-of-text, at least 256; fewer where the texts yield no more merges.
    """
    return _from_merges(name, _trained_merges(texts, tokens))


def _trained_merges(texts: Iterable[str], tokens: int) -> list[tuple[str, str]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=tokens,
        initial_alphabet=sorted(byte_of_character()),
        show_progress=False,
        min_frequency=2,
    )
    backend.train_from_iterator(texts, trainer)
    return [(left, right) for left, right in json.loads(backend.to_str())["model"]["merges"]]


def _from_merges(name: str, merges: Sequence[tuple[str, str]]) -> TiktokenTokenizer:
    order = [*sorted(byte_of_character()), *dict.fromkeys(left + right for left, right in merges), END_OF_TEXT]
    return TiktokenTokenizer(name, {token: id for id, token in enumerate(order)}, list(merges), END_OF_TEXT)


if __name__ == "__main__":
    found = _trained_merges(corpus(), TINY_TOKENS)
    MERGES.write_text("".join(f"{left} {right}\n" for left, right in found), encoding="utf-8")
