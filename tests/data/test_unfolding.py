from __future__ import annotations

import torch

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.data.unfolding import unfolded

ROWS = [
    Row((1, 2, 3), ((4, 5), (6,)), pairs=((0, 1),), index=7),
    Row((8, 9), (), index=8),
    Row((10,), ((11, 12, 13), (14,), (15, 16)), pairs=((0, 1), (2, 1)), index=9),
]


def test_each_response_gets_a_line_behind_its_prompt() -> None:
    batch = unfolded(collate(ROWS))
    assert batch.tokens.tolist() == [
        [1, 2, 3, 4, 5],
        [1, 2, 3, 6, 0],
        [10, 11, 12, 13, 0],
        [10, 14, 0, 0, 0],
        [10, 15, 16, 0, 0],
    ]
    assert batch.segments.tolist()[2:4] == [[0, 1, 1, 1, -1], [0, 1, -1, -1, -1]]
    assert batch.positions.tolist()[3] == [0, 1, 0, 0, 0]
    assert (batch.lengths, batch.side_by_side, any(batch.branching)) == ((5, 4, 4, 2, 3), False, False)
    assert (batch.n_tokens, batch.row_index.tolist()) == (18, [7, 7, 9, 9, 9])


def test_targets_responses_and_pairs_keep_their_order() -> None:
    before, after = collate(ROWS), unfolded(collate(ROWS))
    for name in ("target_tokens", "target_response", "target_times", "pairs", "pair_weights"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    for rows, indices in (
        ("target_rows", "target_indices"),
        ("target_rows", "target_sources"),
        ("end_rows", "end_indices"),
    ):
        read = [b.tokens[getattr(b, rows), getattr(b, indices)].tolist() for b in (before, after)]
        assert read[0] == read[1]
    assert after.longest_response == before.longest_response


def test_what_needs_no_unfolding() -> None:
    padded = collate([Row((1, 2), ((3, 4),)), Row((5, 6), ((7, 8),))])
    assert unfolded(padded) is padded


def test_without_responses_one_token_stays() -> None:
    for rows in ([], [Row((1, 2)), Row((3, 4, 5, 6, 7))]):
        batch = unfolded(collate(rows))
        assert (batch.tokens.shape, batch.n_targets, batch.n_responses) == ((1, 1), 0, 0)
