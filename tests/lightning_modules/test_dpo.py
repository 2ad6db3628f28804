"""What `DPOModule` does between rows and formulas."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from lightning_modules.dpo import DPOModule, check_margins
from lightning_modules.preference.reference import Reference
from lightning_modules.updates.averages import Means
from rlhf.config import DPOConfig, TrainConfig
from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.errors import DataError
from rlhf.models.logprobs import TokenStats

ROWS = [
    Row((1,), ((2, 0), (3, 0)), pairs=((0, 1),), index=0, margins=(2.0,)),
    Row((1,), ((2, 0), (3, 0), (1, 0)), pairs=((0, 1), (2, 1)), index=1, margins=(0.5, 1.0)),
]


def module_of(**algo: Any) -> DPOModule:
    """The policy says 0 of every token, and so does its reference."""

    def says(batch: Any, *, want_log_squares: bool) -> TokenStats:
        return TokenStats(torch.zeros(batch.n_targets))

    module = DPOModule(TrainConfig(algo=DPOConfig(**algo)), 4, says, Reference({}))  # type: ignore[arg-type]
    module.reference = {f"train/{row.index}": torch.zeros(len(row.responses)) for row in ROWS}
    return module


def losses_of(module: DPOModule) -> torch.Tensor:
    batch = collate(ROWS)
    return module.mixed(module.look(batch, "train"), batch, Means())


def test_a_margin_is_asked_for_pair_by_pair() -> None:
    losses = losses_of(module_of(margin_coef=0.5, loss="hinge"))
    assert losses.tolist() == [2.0, 1.25, 1.5]


def test_beta_is_that_of_the_step() -> None:
    module = module_of(beta=1.0, beta_end=4.0, beta_schedule="linear", loss="ipo")
    seen = []
    for module.step in range(4):
        seen.append(float(losses_of(module)[0]))
    assert seen == pytest.approx([(1 / (2 * beta)) ** 2 for beta in (1, 2, 3, 4)])


def test_examples_without_a_margin_are_refused() -> None:
    check_margins(Reference({"train": ROWS, "val": ROWS}))
    without = dataclasses.replace(ROWS[0], margins=())
    with pytest.raises(DataError, match=r"^algo.margin_coef: 1 of 3 "):
        check_margins(Reference({"train": ROWS, "val": [without]}))
