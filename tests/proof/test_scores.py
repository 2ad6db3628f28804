"""What is maximised is the sum of all sources with every shaping: its optimum is reached, and no other's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from closed_form import EOS, OUTCOMES, PENALTY, PROMPTS, make_world
from on_policy import LEARNING, train_on_policy
from torch import Tensor

import lightning_modules.on_policy.score_shaping
from rlhf.config import ScoringConfig
from rlhf.config.algorithms.rloo import RLOOConfig
from rlhf.data.records import Prompt
from rlhf.rewards.sources import Rewards

BETA, MEMBER = 0.5, 5
REACHED, MISSED = 0.02, 0.1
LENGTH, REPETITION, TWOS, MARGIN = 0.6, 1.5, 0.4, 2.0
SHAPED: dict[str, Any] = {"length_penalty": LENGTH, "length_target": 1, "repetition_penalty": REPETITION, "ngram": 1}

pytestmark = pytest.mark.slow


def twos(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
    """How often token 2 was drawn."""
    return [float(said.split().count("2")) for said in completions]


def by_hand(members: Tensor) -> Tensor:
    """The worst of two models, and the rest, for each prompt and outcome: written without the code that is tested."""
    terms = []
    for outcome in OUTCOMES:
        words = [token for token in outcome if token != EOS]
        term = TWOS * words.count(2) - LENGTH * max(0, len(outcome) - 1) - (PENALTY if outcome[-1] != EOS else 0)
        term -= REPETITION * (1 - len(set(words)) / len(words)) if words else 0
        terms.append(term)
    return members.amin(0) + torch.tensor(terms).expand(len(PROMPTS), -1)


def distance(patch: Callable[[Rewards], None] = lambda rewards: None, **run: Any) -> tuple[float, float]:
    """Total variation from the optimum of all that scores, and from that of the first model alone."""
    world = make_world(BETA)
    other = dataclasses.replace(world, scores=make_world(BETA, seed=MEMBER).scores)
    rewards = Rewards(
        [world.reward, other.reward],
        {"twos": twos},
        weights={"twos": TWOS},
        combine="min",
        text_of=lambda tokens: " ".join(map(str, tokens)),
    )
    patch(rewards)
    algo = RLOOConfig(**LEARNING | {"kl_coef": BETA})
    policy = train_on_policy(world, algo, reward=rewards, scoring=ScoringConfig(**SHAPED), **run)
    wanted = world.optimum(by_hand(torch.stack([world.scores, other.scores])))
    return world.total_variation(policy, wanted), world.total_variation(policy)


def test_the_optimum_of_all_that_scores_is_reached() -> None:
    ours, alone = distance()
    assert ours <= REACHED and alone >= MISSED


def mean_of_members(rewards: Rewards) -> None:
    rewards.combine = "mean"


def no_weight(rewards: Rewards) -> None:
    rewards.weights["twos"] = 2.0


def without_a_member(rewards: Rewards) -> None:
    rewards.models = rewards.models[:1]


@pytest.mark.parametrize("mutation", [mean_of_members, no_weight, without_a_member])
def test_other_sums_end_elsewhere(mutation: Callable[[Rewards], None]) -> None:
    assert distance(mutation, steps=100, episodes=256, late=1)[0] >= MISSED


@pytest.mark.parametrize("name", ["repeated_share", "length_penalty"])
def test_other_shaping_ends_elsewhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each term is turned around."""
    right = getattr(lightning_modules.on_policy.score_shaping, name)
    monkeypatch.setattr(lightning_modules.on_policy.score_shaping, name, lambda *args: -right(*args))
    assert distance(steps=100, episodes=256, late=1)[0] >= MISSED
