"""How alike a model's answers are to each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from rlhf.evaluation.metrics import words

MAX_N = 4
COMPARED = 64
"""Texts that are compared with each other: the work grows with the square."""


def self_bleu(texts: Sequence[str], max_n: int = MAX_N) -> float | None:
    """Self-BLEU (Zhu et al. 2018): the mean BLEU of each text with all others as its references.

    In [0, 1]; 1 where every text is made of pieces of others. n-grams up to `max_n` words, or as many as the text has;
    precisions of 0 count as ½ of one n-gram (Chen & Cherry 2014, method 1 with ε = ½), or short texts would all be 0.
    Only the first 64 texts are read, and those without words are left out; `None` for fewer than two.
    """
    found = [tokens for tokens in map(words, texts) if tokens][:COMPARED]
    if len(found) < 2:
        return None
    grams = [[_grams(tokens, n) for n in range(1, max_n + 1)] for tokens in found]
    return fmean(_bleu(i, found, grams) for i in range(len(found)))


def _grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _bleu(i: int, tokens: Sequence[Sequence[str]], grams: Sequence[Sequence[Counter[tuple[str, ...]]]]) -> float:
    """BLEU (Papineni et al. 2002) of one text: clipped n-gram precisions, geometric mean, brevity penalty."""
    logs = []
    for n, mine in enumerate(grams[i][: len(tokens[i])]):
        total = sum(mine.values())
        others = [theirs[n] for j, theirs in enumerate(grams) if j != i]
        matched = sum(min(count, max(other[gram] for other in others)) for gram, count in mine.items())
        logs.append(math.log(max(matched, 0.5) / total))
    length = len(tokens[i])
    closest = min((len(other) for j, other in enumerate(tokens) if j != i), key=lambda n: (abs(n - length), n))
    return math.exp(fmean(logs) + min(0.0, 1 - closest / length))


def commonest_share(texts: Sequence[str]) -> float | None:
    """Share of the texts that are the commonest one; `None` without texts."""
    return Counter(text.strip() for text in texts).most_common(1)[0][1] / len(texts) if texts else None
