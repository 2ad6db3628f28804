"""Where margins move the optimum: learning from all pairs, each with a margin, ends at a point known in closed form.

A pair (i, j) is seen both ways round, preferred with probability p and 1 − p, with the margins m and −m, as where a
margin is the difference of two answers' scores t. The loss −p·log σ(d − m) − (1 − p)·log σ(m − d) is least at

    d = log(p / (1 − p)) + m,

which under Bradley–Terry is r_i − r_j + coef·(t_i − t_j). These differences agree with each other, so a reward model's
scores are r + coef·t up to a constant of the prompt, and DPO's policy is π_ref·exp((r + coef·t)/β), normalised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from all_pairs import pair_rows, train_on_all_pairs
from closed_form import World, make_world, new_critic
from torch import Tensor

import lightning_modules.dpo
import lightning_modules.reward
from lightning_modules.dpo import DPOModule
from lightning_modules.preference.reference import Reference
from lightning_modules.reward import RewardModule
from rlhf.config import DPOConfig, RewardConfig
from rlhf.data.batch import collate

BETA, COEF = 0.5, 0.4
REACHED, MISSED = 0.02, 0.1
SHORT = {"dpo": 100, "scored": 300}
"""Updates after which the right code is nearer than `MISSED`: scores are learnt more slowly, 0.07 after so many."""
LONG: dict[str, Any] = {"lr": 1e-2, "lr_schedule": "cosine", "min_lr_ratio": 0.0, "max_grad_norm": 10.0}


def values(world: World) -> Tensor:
    """What annotators say of each outcome, [prompts, outcomes]; it has nothing to do with the rewards."""
    return torch.randn(world.scores.shape, generator=torch.Generator().manual_seed(3))


def optimum(world: World, coef: float = COEF) -> Tensor:
    return world.optimum(world.shaped() + coef * values(world))


def dpo(world: World, steps: int = 220, **algo: Any) -> float:
    """Total variation from the optimum with margins."""
    rows = pair_rows(world, values(world))
    config = DPOConfig(**LONG | {"beta": BETA, "margin_coef": COEF} | algo)
    policy = train_on_all_pairs(DPOModule, config, world, steps, Reference({"train": rows}), rows=rows)
    return world.total_variation(policy, optimum(world))


def scored(world: World, steps: int = 600, **algo: Any) -> float:
    """The same of π_ref·exp(score/β), normalised, with a reward model's scores."""
    config = RewardConfig(**LONG | {"margin_coef": COEF} | algo)
    rows = pair_rows(world, values(world))
    scorer = train_on_all_pairs(RewardModule, config, world, steps, rows=rows, model=new_critic())
    with torch.no_grad():
        scores = torch.stack([scorer(collate([row])) for row in world.rows])
    return float((0.5 * (world.optimum(scores) - optimum(world)).abs().sum(-1)).max())


def test_margins_move_the_optimum() -> None:
    world = make_world(BETA)
    plain = float((0.5 * (optimum(world) - world.optimum()).abs().sum(-1)).min())
    assert plain >= 2 * MISSED and world.total_variation(world.reference, optimum(world)) >= MISSED


def test_dpo_reaches_the_optimum_with_margins() -> None:
    assert dpo(make_world(BETA)) <= REACHED


@pytest.mark.slow
def test_a_reward_model_reaches_it_too() -> None:
    assert scored(make_world(BETA)) <= REACHED


@pytest.mark.slow
@pytest.mark.parametrize("mutation", ["left_out", "halved", "added"])
@pytest.mark.parametrize("method", [dpo, scored], ids=["dpo", "reward"])
def test_a_mutation_misses_it(method: Callable[..., float], mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name = {dpo: (lightning_modules.dpo, "dpo"), scored: (lightning_modules.reward, "pair_losses")}[method]
    right = getattr(module, name)
    factor = {"left_out": 0.0, "halved": 0.5, "added": -1.0}[mutation]
    monkeypatch.setattr(module, name, lambda *args, margin, **options: right(*args, margin=factor * margin, **options))
    assert method(make_world(BETA), SHORT[method.__name__]) >= MISSED
