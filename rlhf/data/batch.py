"""Rows become padded tensors with, for every trained token, where it stands and what predicts it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from rlhf.data.rows import Row

PADDING = -1


@dataclass(frozen=True, eq=False)
class Batch:
    """B rows padded on the right to T tokens; R responses and N target tokens in all, P pairs.

    A row is a tree: the prompt is its trunk, every response a branch. Targets are ordered by response, then by time.

    Attributes:
        tokens: [B, T] ids, long.
        positions: [B, T] position embeddings' indices, long; every response restarts at the prompt's length.
        segments: [B, T] 0 = prompt, k >= 1 = k-th response of the row, -1 = padding.
        target_rows: [N] row of each target token.
        target_sources: [N] index in T that predicts the target: the prompt's last token for a response's first.
        target_indices: [N] index in T of the target itself.
        target_tokens: [N] its id.
        target_response: [N] its flat response number, 0..R-1.
        target_times: [N] its place in its response, from 0.
        end_rows, end_indices: [R] where each response's last token stands.
        pairs: [P, 2] flat response numbers (chosen, rejected).
        pair_weights: [P] 1 / number of pairs of the row, float.
        row_index: [B] `Row.index`.
        n_bytes: UTF-8 bytes of all responses.
        n_tokens: tokens that are not padding.
        longest_response: tokens of the longest response; 0 without responses.
        branching: whether a row has more than one response, so that plain causal attention is not enough.
    """

    tokens: Tensor
    positions: Tensor
    segments: Tensor
    target_rows: Tensor
    target_sources: Tensor
    target_indices: Tensor
    target_tokens: Tensor
    target_response: Tensor
    target_times: Tensor
    end_rows: Tensor
    end_indices: Tensor
    pairs: Tensor
    pair_weights: Tensor
    row_index: Tensor
    n_bytes: int
    n_tokens: int
    longest_response: int
    branching: bool

    @property
    def n_rows(self) -> int:
        return self.tokens.shape[0]

    @property
    def n_targets(self) -> int:
        return self.target_tokens.shape[0]

    @property
    def n_responses(self) -> int:
        return self.end_rows.shape[0]

    @property
    def n_pairs(self) -> int:
        return self.pairs.shape[0]

    @property
    def padding_fraction(self) -> float:
        """Share of [B, T] that is padding; 0 for an empty batch."""
        return 1 - self.n_tokens / self.tokens.numel() if self.tokens.numel() else 0.0

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on `device`."""
        moved: dict[str, Any] = {
            field.name: value.to(device, non_blocking=non_blocking)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    def attention_mask(self) -> Tensor | None:
        """[B, 1, T, T] bool, true where query i may read key j; None where plain causal attention is exact.

        A token reads the prompt and what stands before it in its own response. Padding reads itself alone, since a
        query with nothing to read has a softmax of NaN, and is read by no one.
        """
        if not self.branching:
            return None
        query, key = self.segments[:, :, None], self.segments[:, None, :]
        size = self.tokens.shape[1]
        order = torch.arange(size, device=self.tokens.device)
        causal = order[:, None] >= order[None, :]
        same_path = (key == 0) | (key == query)
        real = (query != PADDING) & (key != PADDING)
        return ((causal & same_path & real) | (order[:, None] == order[None, :]))[:, None]

    def pad_responses(self, flat: Tensor, fill: float = 0.0) -> Tensor:
        """One value a target, [N], as one row a response: [R, longest_response], `fill` after each end."""
        padded = flat.new_full((self.n_responses, self.longest_response), fill)
        return padded.index_put((self.target_response, self.target_times), flat)

    def response_mask(self) -> Tensor:
        """[R, longest_response] bool, true where `pad_responses` put a target's value."""
        return self.pad_responses(torch.ones_like(self.target_tokens, dtype=torch.bool))

    def flatten(self, padded: Tensor) -> Tensor:
        """[R, longest_response] back to [N], the inverse of `pad_responses`."""
        return padded[self.target_response, self.target_times]


def collate(rows: Sequence[Row], pad_id: int = 0) -> Batch:
    """Rows as one right-padded batch. No rows make an empty batch; a row without responses has no targets.

    Raises:
        ValueError: a response without tokens, or responses after an empty prompt (nothing predicts their first token).
    """
    size = max((row.length for row in rows), default=0)
    tokens, positions, segments = [], [], []
    targets: list[tuple[int, int, int, int, int, int]] = []
    ends: list[tuple[int, int]] = []
    pairs: list[tuple[int, int]] = []
    weights: list[float] = []
    for number, row in enumerate(rows):
        _check(row)
        start = len(row.prompt)
        row_tokens, row_positions, row_segments = list(row.prompt), list(range(start)), [0] * start
        pairs += [(len(ends) + better, len(ends) + worse) for better, worse in row.pairs]
        weights += [1 / len(row.pairs) for _ in row.pairs]
        for segment, response in enumerate(row.responses, 1):
            begin = len(row_tokens)
            for time, token in enumerate(response):
                source = begin + time - 1 if time else start - 1
                targets.append((number, source, begin + time, token, len(ends), time))
            row_tokens += response
            row_positions += range(start, start + len(response))
            row_segments += [segment] * len(response)
            ends.append((number, len(row_tokens) - 1))
        padding = size - row.length
        tokens.append(row_tokens + [pad_id] * padding)
        positions.append(row_positions + [0] * padding)
        segments.append(row_segments + [PADDING] * padding)

    # [6, N] in one go: the transpose of the tuples above.
    columns = _long(targets, 6).T.contiguous()
    end_columns = _long(ends, 2).T.contiguous()
    return Batch(
        tokens=_long(tokens, size),
        positions=_long(positions, size),
        segments=_long(segments, size),
        target_rows=columns[0],
        target_sources=columns[1],
        target_indices=columns[2],
        target_tokens=columns[3],
        target_response=columns[4],
        target_times=columns[5],
        end_rows=end_columns[0],
        end_indices=end_columns[1],
        pairs=_long(pairs, 2),
        pair_weights=torch.tensor(weights, dtype=torch.float32),
        row_index=torch.tensor([row.index for row in rows], dtype=torch.long),
        n_bytes=sum(row.n_bytes for row in rows),
        n_tokens=sum(row.length for row in rows),
        longest_response=max((len(response) for row in rows for response in row.responses), default=0),
        branching=any(len(row.responses) > 1 for row in rows),
    )


def _check(row: Row) -> None:
    if row.responses and not row.prompt:
        raise ValueError(f"row {row.index} has responses but an empty prompt: nothing predicts their first token")
    if not all(row.responses):
        raise ValueError(f"row {row.index} has a response without tokens")


def _long(values: Sequence[Sequence[int]], width: int) -> Tensor:
    """[len(values), width], also where there are no values to take the shape from."""
    return torch.tensor(values, dtype=torch.long).reshape(len(values), width)


def microbatches(rows: Iterable[Row], tokens_per_microbatch: int) -> list[list[Row]]:
    """Groups whose padded size (rows x longest row) is at most the budget; a row longer than that goes alone.

    Rows are taken longest first, so that neighbours pad each other little and the largest group, which decides
    whether memory suffices, comes first. Equal lengths keep their order.
    """
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -row.length):
        if groups and (len(groups[-1]) + 1) * groups[-1][0].length <= tokens_per_microbatch:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
