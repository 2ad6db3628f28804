"""Parts of a training set: fewer examples, or fewer answers of each ranking, drawn so that less is within more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import TypeVar

from rlhf.data.records import Ranking, Record, key_of
from rlhf.data.splits import fraction_of

R = TypeVar("R", bound=Record)


def fewer_examples(records: Sequence[R], n: int, seed: int) -> list[R]:
    """The n records whose prompts' hashes come first, in their original order.

    The hash depends on prompt and seed alone, so that 100 of some records are among 400 of them. Rankings that are all
    ties teach nothing and are passed over. Where there are fewer than n, all of them.
    """
    usable = [i for i, record in enumerate(records) if not isinstance(record, Ranking) or record.pairs()]
    # Its own salt: the split has sorted prompts by the plain hash already.
    first = sorted(usable, key=lambda i: (fraction_of(f"subset\n{key_of(records[i])}", seed), i))[:n]
    return [records[i] for i in sorted(first)]


def fewer_responses(records: Iterable[R], k: int, seed: int) -> list[R]:
    """Rankings with at most k of their answers, two of them of different rank where there are such; others as they are.

    With k = 2 each ranking is a single comparison, drawn evenly from its pairs. Fewer answers are among more.
    """
    return [_fewer(record, k, seed) if isinstance(record, Ranking) else record for record in records]  # type: ignore[misc]


def _fewer(ranking: Ranking, k: int, seed: int) -> Ranking:
    if len(ranking.responses) <= k:
        return ranking
    random = Random(f"responses {seed} {key_of(ranking)}")
    pairs = ranking.pairs()
    first = list(random.choice(pairs)) if pairs else []
    rest = [i for i in range(len(ranking.responses)) if i not in first]
    kept = sorted([*first, *random.sample(rest, len(rest))][:k])
    scores = tuple(ranking.scores[i] for i in kept) if ranking.scores else ()
    responses, ranks = zip(*((ranking.responses[i], ranking.ranks[i]) for i in kept), strict=True)
    return Ranking(ranking.prompt, responses, ranks, ranking.tags, scores)
