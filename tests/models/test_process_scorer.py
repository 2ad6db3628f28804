"""A process reward model scores any response by its steps, whatever rows it stands in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlhf.data.batch import collate
from rlhf.data.row import Row
from rlhf.models.language import ScoreModel
from rlhf.models.layout.layouts import lay_out
from rlhf.models.process_scorer import SEPARATOR, ProcessScorer, as_trained, forget_steps, is_process_model

BREAK = 9
ROWS = [
    Row((1, 2, 3), ((4, BREAK, 5, 6, BREAK, 0), (5, 5, 0)), index=0),
    Row((3, 3), ((7, 4, BREAK, BREAK, 4),), index=1),
    Row((2,), ((0,),), index=2),
]
COMBINED: dict[str, Callable[[list[float]], float]] = {
    "min": min,
    "product": math.prod,
    "mean": lambda p: sum(p) / len(p),
    "last": lambda p: p[-1],
}
ENDS = [[(1, 5), (2,)], [(2, 4)], [(0,)]]


def letters(token: int) -> bytes:
    return {0: b"", BREAK: b"\n"}.get(token, b"x")


def scorer(make_hf: Callable[..., Any], architecture: dict[str, Any], combine: Any = "min") -> ProcessScorer:
    hf = make_hf("score", architecture, num_labels=1, pad_token_id=0)
    return ProcessScorer(hf, "\n", letters, combine).eval()


@torch.no_grad()
def by_hand(model: ProcessScorer) -> list[list[float]]:
    """Probabilities of every response's steps, each read alone."""
    found = []
    for row, ends in zip(ROWS, ENDS, strict=True):
        for response, places in zip(row.responses, ends, strict=True):
            prefixes = [[*row.prompt, *response[: place + 1]] for place in places]
            states = [model.hf.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1] for ids in prefixes]
            found.append([torch.sigmoid(model.hf.score(state)).item() for state in states])
    return found


@pytest.mark.parametrize("layout", ["tree", "padded"])
@torch.no_grad()
def test_scores_are_those_of_the_steps_read_alone(
    layout: Any, make_hf: Callable[..., Any], architecture: dict[str, Any]
) -> None:
    model = scorer(make_hf, architecture)
    steps = by_hand(model)
    lay_out(model.hf, layout)
    for how, score in COMBINED.items():
        model.combine = how  # type: ignore[assignment]
        assert model(collate(ROWS)).tolist() == pytest.approx([score(p) for p in steps], abs=1e-5)
        # A row alone is padded; it scores the same.
        assert model(collate(ROWS[1:2])).tolist() == pytest.approx([score(steps[2])], abs=1e-5)


@torch.no_grad()
def test_changes_stand_where_steps_end_and_add_up(make_hf: Callable[..., Any], architectures: dict[str, Any]) -> None:
    model = scorer(make_hf, architectures["gpt2"], "product")
    batch = collate(ROWS)
    changes = batch.pad_responses(model(batch, at="changes"))
    assert changes.sum(-1).tolist() == pytest.approx(model(batch).tolist(), abs=1e-6)
    assert [row.nonzero().flatten().tolist() for row in changes] == [[1, 5], [2], [2, 4], [0]]
    first, second = by_hand(model)[0]
    assert changes[0, [1, 5]].tolist() == pytest.approx([first, first * second - first], abs=1e-5)
    nothing = collate([Row((1, 2))])
    assert len(model(nothing)) == len(model(nothing, at="changes")) == 0


def test_what_makes_a_model_one_of_steps(make_hf: Callable[..., Any], architectures: dict[str, Any]) -> None:
    class Letters:
        token_bytes = staticmethod(letters)

    plain = ScoreModel(make_hf("score", architectures["gpt2"], num_labels=1, pad_token_id=0))
    assert not is_process_model(plain) and as_trained(plain, Letters()) is plain  # type: ignore[arg-type]
    setattr(plain.hf.config, SEPARATOR, "\n")
    found = as_trained(plain, Letters(), "mean")  # type: ignore[arg-type]
    assert isinstance(found, ProcessScorer) and (found.combine, found.separator) == ("mean", "\n")
    # A critic that starts from it reads values as any does.
    torch.testing.assert_close(found(collate(ROWS), at="sources"), plain(collate(ROWS), at="sources"))
    forget_steps(plain)
    assert not is_process_model(plain)
