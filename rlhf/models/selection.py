"""Rows of a tensor by number, whose gradients are the same bits on a busy machine."""

from __future__ import annotations

from torch import Tensor


def select(states: Tensor, index: Tensor) -> Tensor:
    """`states[index]` of [N, ...] by [M] numbers; an entry's gradients are added up in the order of `index`.

    Responses to one prompt share the state that predicts their first tokens, so numbers repeat, and with three or more
    the order of the sum decides its last bits. The backward pass of indexing adds in any order on CPU (in parallel from
    32,768 elements on), and in order of sorted numbers on CUDA; that of `index_select` the other way round.
    """
    return states[index] if states.is_cuda else states.index_select(0, index)


def select_at(states: Tensor, lines: Tensor, places: Tensor) -> Tensor:
    """`states[lines, places]` of [B, T, ...], as `select`."""
    return select(states.flatten(0, 1), lines * states.shape[1] + places)
