"""Every target's place is checked against a brute-force walk over single sequences."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data.batch import collate, microbatches
from rlhf.data.rows import Row

token = st.integers(1, 50)


@st.composite
def rows(draw: st.DrawFn, max_rows: int = 5) -> list[Row]:
    found = []
    for index in range(draw(st.integers(0, max_rows))):
        responses = draw(st.lists(st.lists(token, min_size=1, max_size=5).map(tuple), max_size=3))
        count = len(responses)
        possible = [(i, j) for i in range(count) for j in range(count) if i != j]
        pairs = draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []
        prompt = draw(st.lists(token, min_size=1, max_size=6).map(tuple))
        found.append(Row(prompt, tuple(responses), tuple(pairs), draw(st.integers(0, 99)), index))
    return found


@given(rows())
def test_targets_are_those_of_separate_sequences(found: list[Row]) -> None:
    batch = collate(found)
    expected = []
    flat = 0
    for number, row in enumerate(found):
        for segment, response in enumerate(row.responses, 1):
            path = [*row.prompt, *response]
            for place in range(len(row.prompt), len(path)):
                expected.append((number, flat, segment, place, path[place - 1], path[place]))
            flat += 1
    assert batch.n_targets == len(expected)
    assert batch.n_responses == flat
    for n, (row_number, flat, segment, place, before, itself) in enumerate(expected):
        number = 0 if batch.side_by_side else row_number
        source, index = int(batch.target_sources[n]), int(batch.target_indices[n])
        assert int(batch.target_rows[n]) == number
        assert int(batch.target_response[n]) == flat
        assert int(batch.target_tokens[n]) == int(batch.tokens[number, index]) == itself
        assert int(batch.tokens[number, source]) == before
        assert int(batch.positions[number, index]) == place
        assert int(batch.positions[number, source]) == place - 1
        assert int(batch.segments[number, index]) == segment
        assert int(batch.segments[number, source]) in (0, segment)


@given(rows())
def test_ends_pairs_and_counts(found: list[Row]) -> None:
    batch = collate(found, pad_id=7)
    flat = [response for row in found for response in row.responses]
    ends = batch.tokens[batch.end_rows, batch.end_indices].tolist() if flat else []
    assert ends == [response[-1] for response in flat]
    offsets = [sum(len(row.responses) for row in found[:number]) for number in range(len(found))]
    expected = [(offset + i, offset + j) for offset, row in zip(offsets, found, strict=True) for i, j in row.pairs]
    assert [tuple(pair) for pair in batch.pairs.tolist()] == expected
    assert float(batch.pair_weights.sum()) == pytest.approx(sum(bool(row.pairs) for row in found), abs=1e-5)
    assert batch.n_pairs == len(expected) == batch.pair_weights.shape[0]
    assert batch.row_index.tolist() == [row.index for row in found]
    assert batch.n_bytes == sum(row.n_bytes for row in found)
    assert batch.n_tokens == sum(row.length for row in found) == int((batch.segments >= 0).sum())
    assert (batch.tokens[batch.segments < 0] == 7).all()
    assert 0 <= batch.padding_fraction < 1


@given(rows())
def test_padded_responses_flatten_back(found: list[Row]) -> None:
    batch = collate(found)
    values = torch.arange(1.0, batch.n_targets + 1)
    padded = batch.pad_responses(values, fill=-1.0)
    lengths = [len(response) for row in found for response in row.responses]
    assert padded.shape == (len(lengths), max(lengths, default=0))
    assert batch.response_mask().sum(1).tolist() == lengths
    assert torch.equal(batch.response_mask(), padded > 0)
    assert torch.equal(batch.flatten(padded), values)
    # Left-aligned: the mask never turns on again.
    assert (batch.response_mask().int().diff(dim=1) <= 0).all()


def test_pad_responses_carries_gradients() -> None:
    batch = collate([Row((1,), ((2, 3), (4,)))])
    values = torch.ones(3, requires_grad=True)
    batch.pad_responses(values).mul(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, 2.0, 3.0]


def test_side_by_side_by_hand() -> None:
    batch = collate([Row((4,), ((3,),)), Row((5, 6), ((7, 8), (9,)), ((1, 0),), 3, 11)])
    assert batch.side_by_side
    assert (batch.lengths, batch.branching) == ((2, 5), (False, True))
    assert batch.tokens.tolist() == [[4, 3, 5, 6, 7, 8, 9]]
    assert batch.positions.tolist() == [[0, 1, 0, 1, 2, 3, 2]]
    assert batch.segments.tolist() == [[0, 1, 0, 0, 1, 1, 2]]
    assert batch.target_rows.tolist() == [0, 0, 0, 0]
    assert batch.target_sources.tolist() == [0, 3, 4, 3]
    assert batch.target_indices.tolist() == [1, 4, 5, 6]
    assert batch.end_indices.tolist() == [1, 5, 6]
    assert batch.pairs.tolist() == [[2, 1]]
    assert batch.padding_fraction == 0


def test_padded_by_hand() -> None:
    long = Row(tuple(range(1, 20)), ((21,),))
    batch = collate([long, Row((5, 6, *range(30, 47)))])
    assert not batch.side_by_side
    assert batch.tokens.shape == (2, 20)
    assert batch.tokens[1].tolist() == [5, 6, *range(30, 47), 0]
    assert batch.segments[:, -1].tolist() == [1, -1]
    assert (batch.target_rows.tolist(), batch.target_sources.tolist()) == ([0], [18])
    assert batch.padding_fraction == pytest.approx(1 / 40)
    assert collate([long, Row((5, 6))]).side_by_side


def test_an_empty_batch_has_shapes() -> None:
    batch = collate([])
    assert batch.tokens.shape == (0, 0)
    assert (batch.n_rows, batch.n_targets, batch.n_responses, batch.n_pairs) == (0, 0, 0, 0)
    assert batch.padding_fraction == 0.0
    assert batch.response_mask().shape == (0, 0)


@pytest.mark.parametrize("row", [Row((), ((1,),)), Row((1,), ((),))])
def test_rows_that_cannot_be_predicted_are_refused(row: Row) -> None:
    with pytest.raises(ValueError, match="row 0"):
        collate([row])


def test_to_moves_every_tensor() -> None:
    batch = collate([Row((1,), ((2,), (3,)), ((0, 1),))]).to("meta")
    assert {value.device.type for value in vars(batch).values() if isinstance(value, torch.Tensor)} == {"meta"}
    assert batch.n_tokens == 3


@given(rows(max_rows=12), st.integers(1, 80))
def test_microbatches_keep_the_budget_and_every_row(found: list[Row], budget: int) -> None:
    groups = microbatches(found, budget)
    assert sorted(row.index for group in groups for row in group) == list(range(len(found)))
    for group in groups:
        assert len(group) == 1 or sum(row.length for row in group) <= budget
    longest = [group[0].length for group in groups]
    assert longest == sorted(longest, reverse=True)
    # Greedy to the end: no group could have taken the next one's first row.
    for group, following in itertools.pairwise(groups):
        assert sum(row.length for row in group) + following[0].length > budget
