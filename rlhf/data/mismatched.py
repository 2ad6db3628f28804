"""Prompts with answers to other prompts, from which KTO estimates a KL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from rlhf.data.rows import Row


def mismatched(rows: Sequence[Row], limit: int, seed: int) -> list[Row]:
    """Each row's prompt with the responses of another row, whose prompt is another one.

    Who gets whose is fixed for a data set by `seed`: what a reference says of them is then computed once, and no batch
    size or number of processes changes anything. Every row gives its responses once, where prompts differ.

    Args:
        limit: tokens of a prompt and a response; what is longer loses its end.

    Returns:
        Rows without pairs and labels, with the indices of `rows`; none where all prompts are the same.
    """
    order = list(range(len(rows)))
    Random(f"mismatched {seed}").shuffle(order)
    found: dict[int, Row] = {}
    for place, number in enumerate(order):
        row = rows[number]
        followers = (rows[order[(place + step) % len(order)]] for step in range(1, len(order)))
        other = next((follower for follower in followers if follower.prompt != row.prompt), None)
        if other is None:
            return []
        room = max(1, limit - len(row.prompt))
        responses = tuple(response[:room] for response in other.responses)
        found[number] = replace(row, responses=responses, pairs=(), labels=(), n_bytes=0, context=())
    return [found[number] for number in range(len(rows))]
