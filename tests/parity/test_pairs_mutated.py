"""Mistakes in what `algo=dpo` hands to its losses fail the comparison with TRL, for every loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_pairs import GOLDEN, TOLERANCE, losses_and_gradients, named, ours

from lightning_modules import dpo as module
from lightning_modules.preference.compared import Compared


def swapped(found: Compared) -> Compared:
    """The rejected response is taken for the chosen one."""
    sides = {name: getattr(found, name)[::-1] for name in ("policy", "reference", "plain", "lengths")}
    return replace(found, **sides)


def without_reference(found: Compared) -> Compared:
    return replace(found, reference=tuple(torch.zeros_like(x) for x in found.reference))


def off_by_a_token(found: Compared) -> Compared:
    """Lengths, and sums, that miss a response's last token: a sixth of the sum stands for it here."""
    fewer = tuple((n - 1).clamp(min=1) for n in found.lengths)
    less = {name: tuple(5 / 6 * x for x in getattr(found, name)) for name in ("policy", "reference", "plain")}
    return replace(found, lengths=fewer, **less)


CASES = [case for case in GOLDEN["losses"] if case.get("beta") != 0.6]


@pytest.mark.parametrize("mutate", [swapped, without_reference, off_by_a_token], ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_mutation_is_noticed(
    case: dict[str, Any], mutate: Callable[[Compared], Compared], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module.compared
    monkeypatch.setattr(module, "compared", lambda *args: mutate(right(*args)))
    losses, _, _ = losses_and_gradients(ours(case))
    expected = torch.tensor(case["expected_loss"])
    if len(expected) == 1:
        losses = losses.mean(0, keepdim=True)
    assert (losses - expected).abs().max() > 100 * TOLERANCE
