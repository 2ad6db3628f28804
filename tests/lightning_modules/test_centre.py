"""How many demonstrations are read to find the mean score of a reward model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_modules.reward import CENTRED_ON, CENTRED_TO, RewardModule
from rlhf.data.rows import Row

ROWS = [Row((1,), ((2,),), index=i) for i in range(3000)]
SCORES = [Random(i).gauss(1.5, 0.5) for i in range(3000)]


def module(spread: float | None) -> Any:
    """What `centre` needs of a module whose scores are `SCORES`."""

    def moments(rows: Sequence[Row]) -> tuple[float, float]:
        mine = [SCORES[row.index] for row in rows]
        return fmean(mine), fmean(score**2 for score in mine)

    metrics = {} if spread is None else {"val/score_std": spread}
    return SimpleNamespace(val_metrics=metrics, scorer=SimpleNamespace(reward_mean=7.0), _moments=moments)


@pytest.mark.parametrize(
    ("spread", "enough"),
    [
        (5.0, lambda read: read == 100),  # 0.5 / √100 is below 0.02 · 5
        (2.0, lambda read: read in (100, 200, 300)),  # about 156, in hundreds
        (0.6, lambda read: read == CENTRED_ON),  # about 1,740
        (None, lambda read: read == CENTRED_ON),  # nothing was held out, so how far scores spread is not known
    ],
)
def test_as_many_are_read_as_make_the_mean_certain(spread: float | None, enough: Callable[[int], bool]) -> None:
    stage = module(spread)
    read = RewardModule.centre(stage, ROWS)
    assert enough(read)
    error = abs(stage.scorer.reward_mean - 1.5)
    assert error < 4 * max(CENTRED_TO * (spread or 0), 0.5 / CENTRED_ON**0.5)


def test_where_there_are_few_all_are_read() -> None:
    stage = module(2.0)
    assert RewardModule.centre(stage, ROWS[:30]) == 30
    assert stage.scorer.reward_mean == pytest.approx(fmean(SCORES[:30]))
