"""Rows become tensors, padded or side by side, with, for every trained token, where it stands and what predicts it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from rlhf.data.row import Row

PADDING = -1

SIDE_BY_SIDE = 0.1
"""Share of padding from which rows lie side by side. Padding costs arithmetic; side by side, each row costs a call."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of R responses, N target tokens and P pairs in all, on B lines of T tokens.

    A row is a tree: the prompt is its trunk, every response a branch. Targets are ordered by response, then by time.
    Either each row has a line of its own, padded on the right, or all lie side by side in one line without padding
    (B = 1). Rows with several responses always do: plain causal attention is not enough for them.

    Attributes:
        tokens: [B, T] ids, long.
        positions: [B, T] position embeddings' indices, long; every response restarts at the prompt's length.
        segments: [B, T] 0 = prompt, k >= 1 = k-th response of the row, -1 = padding.
        lengths: tokens of each row.
        branching: of each row, whether it has more than one response.
        prompt_lengths: tokens of each row's prompt.
        response_lengths: of each row, tokens of each of its responses.
        side_by_side: whether the rows share one line.
        target_rows: [N] line of each target token.
        target_sources: [N] index in T that predicts the target: the prompt's last token for a response's first.
        target_indices: [N] index in T of the target itself.
        target_tokens: [N] its id.
        target_response: [N] its flat response number, 0..R-1.
        target_times: [N] its place in its response, from 0; of a conversation, what is only read counts too.
        end_rows, end_indices: [R] where each response's last token stands.
        pairs: [P, 2] flat response numbers (chosen, rejected).
        pair_weights: [P] 1 / number of pairs of the row, float.
        pair_margins: [P] by how much the chosen response is better, float; 0 where the data don't say.
        desirable: [R] bool, what the rows' labels say of their responses; false where they say nothing.
        step_rows, step_indices: [S] where the judged steps of responses end, ordered by response, then by time.
        step_response: [S] the flat response number of each.
        step_times: [S] the place in its response at which it ends.
        step_labels: [S] the probability that it is right, float.
        row_index: [rows] `Row.index`.
        n_bytes: UTF-8 bytes of all responses.
        n_tokens: tokens that are not padding.
        longest_response: tokens of the longest response; 0 without responses.
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
    pair_margins: Tensor
    desirable: Tensor
    step_rows: Tensor
    step_indices: Tensor
    step_response: Tensor
    step_times: Tensor
    step_labels: Tensor
    row_index: Tensor
    n_bytes: int
    n_tokens: int
    longest_response: int
    lengths: tuple[int, ...]
    branching: tuple[bool, ...]
    prompt_lengths: tuple[int, ...]
    response_lengths: tuple[tuple[int, ...], ...]
    side_by_side: bool

    @property
    def n_rows(self) -> int:
        return len(self.lengths)

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
    """Rows as one batch. No rows make an empty batch; a row without responses has no targets.

    Raises:
        ValueError: a response without tokens, or responses after an empty prompt (nothing predicts their first token).
    """
    size = max((row.length for row in rows), default=0)
    n_tokens = sum(row.length for row in rows)
    branching = tuple(len(row.responses) > 1 for row in rows)
    side_by_side = any(branching) or n_tokens < (1 - SIDE_BY_SIDE) * size * len(rows)
    tokens, positions, segments = [], [], []
    targets: list[tuple[int, int, int, int, int, int]] = []
    ends: list[tuple[int, int]] = []
    pairs: list[tuple[int, int]] = []
    weights: list[float] = []
    margins: list[float] = []
    desirable: list[bool] = []
    steps: list[tuple[int, int, int, int]] = []
    step_labels: list[float] = []
    line, first = 0, 0
    for row in rows:
        _check(row)
        start = len(row.prompt)
        row_tokens, row_positions, row_segments = list(row.prompt), list(range(start)), [0] * start
        pairs += [(len(ends) + better, len(ends) + worse) for better, worse in row.pairs]
        weights += [1 / len(row.pairs) for _ in row.pairs]
        margins += row.margins or [0.0] * len(row.pairs)
        desirable += row.labels or (False,) * len(row.responses)
        for segment, response in enumerate(row.responses, 1):
            begin = first + len(row_tokens)
            for time in row.trained(response):
                token = response[time]
                source = begin + time - 1 if time else first + start - 1
                targets.append((line, source, begin + time, token, len(ends), time))
            if row.step_ends:
                steps += [(line, begin + time, len(ends), time) for time in row.step_ends[segment - 1]]
                step_labels += row.step_labels[segment - 1]
            row_tokens += response
            row_positions += range(start, start + len(response))
            row_segments += [segment] * len(response)
            ends.append((line, first + len(row_tokens) - 1))
        padding = 0 if side_by_side else size - row.length
        tokens += row_tokens + [pad_id] * padding
        positions += row_positions + [0] * padding
        segments += row_segments + [PADDING] * padding
        if side_by_side:
            first += row.length
        else:
            line += 1

    # [6, N] in one go: the transpose of the tuples above.
    columns = _long(targets, 6).T.contiguous()
    end_columns, step_columns = _long(ends, 2).T.contiguous(), _long(steps, 4).T.contiguous()
    shape = (1, n_tokens) if side_by_side else (len(rows), size)
    return Batch(
        tokens=torch.tensor(tokens, dtype=torch.long).reshape(shape),
        positions=torch.tensor(positions, dtype=torch.long).reshape(shape),
        segments=torch.tensor(segments, dtype=torch.long).reshape(shape),
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
        pair_margins=torch.tensor(margins, dtype=torch.float32),
        desirable=torch.tensor(desirable, dtype=torch.bool),
        step_rows=step_columns[0],
        step_indices=step_columns[1],
        step_response=step_columns[2],
        step_times=step_columns[3],
        step_labels=torch.tensor(step_labels, dtype=torch.float32),
        row_index=torch.tensor([row.index for row in rows], dtype=torch.long),
        n_bytes=sum(row.n_bytes for row in rows),
        n_tokens=n_tokens,
        longest_response=max((len(response) for row in rows for response in row.responses), default=0),
        lengths=tuple(row.length for row in rows),
        branching=branching,
        prompt_lengths=tuple(len(row.prompt) for row in rows),
        response_lengths=tuple(tuple(len(response) for response in row.responses) for row in rows),
        side_by_side=side_by_side,
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
    """Groups of at most `tokens_per_microbatch` tokens; a row longer than that goes alone.

    Rows are taken longest first, so that neighbours pad each other little (`collate` pads where that is little
    indeed). Equal lengths keep their order.
    """
    groups: list[list[Row]] = []
    size = 0
    for row in sorted(rows, key=lambda row: -row.length):
        if groups and size + row.length <= tokens_per_microbatch:
            groups[-1].append(row)
            size += row.length
        else:
            groups.append([row])
            size = row.length
    return groups
