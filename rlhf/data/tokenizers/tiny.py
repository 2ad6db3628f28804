"""The small vocabulary of `model=tiny`: trained in a second, always the same, run through tiktoken like GPT-2's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache

from rlhf.data.assistant import corpus
from rlhf.data.tokenizers.bpe import END_OF_TEXT, TiktokenTokenizer
from rlhf.data.tokenizers.vocabulary import byte_of_character

TINY_TOKENS = 1000


@lru_cache(maxsize=4)
def tiny_tokenizer(tokens: int = TINY_TOKENS) -> TiktokenTokenizer:
    """At most `tokens` tokens and end-of-text, trained on the embedded task's fixed corpus."""
    return train_bpe("tiny", corpus(), tokens)


def train_bpe(name: str, texts: Iterable[str], tokens: int) -> TiktokenTokenizer:
    """A byte-level BPE with GPT-2's splitting rule: 256 bytes, then merges, then end-of-text as the last id.

    Args:
        tokens: size of the vocabulary without end-of-text, at least 256; fewer where the texts yield no more merges.
    """
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
    merges = [(left, right) for left, right in json.loads(backend.to_str())["model"]["merges"]]
    order = [*sorted(byte_of_character()), *dict.fromkeys(left + right for left, right in merges), END_OF_TEXT]
    return TiktokenTokenizer(name, {token: id for id, token in enumerate(order)}, merges, END_OF_TEXT)
