"""From sampled responses to advantages: what policy, reference, critic and reward model say of each episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_modules.averages import Means
from lightning_modules.micro_batches import cut, equalise
from rlhf.config import PPOConfig, TrainConfig
from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.objectives.kl import k1, k3
from rlhf.objectives.numeric import moments
from rlhf.objectives.ppo import gae, shape_scores, shaped_rewards, whiten
from rlhf.rollout.episodes import Episodes


@dataclass(frozen=True)
class Scorers:
    """The four models of PPO; `critic` is `None` where the policy carries the value head."""

    policy: LanguageModel
    critic: ScoreModel | None
    reference: LanguageModel
    reward: Callable[[Batch], Tensor]


@torch.no_grad()
def score_episodes(episodes: Episodes, scorers: Scorers, algo: PPOConfig, config: TrainConfig, pad_id: int) -> None:
    """Fill log-probabilities (policy and reference, at the sampling temperature), values and scores.

    The policy's own log-probabilities are recomputed in the micro-batches that learn, rather than taken from the
    sampler: the first ratio is then 1 whatever engine or precision did the sampling.
    """
    temperature = config.rollout.temperature
    micros = cut(episodes.rows, config.train.tokens_per_microbatch)
    for micro in equalise(micros, episodes.rows):
        batch = collate(micro.rows, pad_id).to(episodes.mask.device)
        stats: Any = scorers.policy(batch, temperature=temperature)
        reference: Any = scorers.reference(batch, temperature=temperature)
        values = stats.values if scorers.critic is None else scorers.critic(batch, at="sources")
        scores = scorers.reward(batch)
        if micro.live:
            episodes.store("logprobs", batch, stats.logprobs)
            episodes.store("reference_logprobs", batch, reference.logprobs)
            episodes.store("values", batch, values)
            episodes.scores[episodes.numbers(batch)] = scores.float()
    episodes.shaped_scores = shape_scores(
        episodes.scores, episodes.finished, missing_eos_penalty=algo.missing_eos_penalty, clip=algo.score_clip
    )


def advantages_of(episodes: Episodes, algo: PPOConfig, kl_coef: float, all_reduce: Callable[[Tensor], Tensor]) -> None:
    """Fill rewards, advantages and returns; whitening is over the response tokens of all ranks."""
    mask = episodes.mask
    in_reward = kl_coef if algo.kl_in == "reward" else 0.0
    rewards = shaped_rewards(episodes.shaped_scores, episodes.logprobs, episodes.reference_logprobs, mask, in_reward)
    if algo.whiten_rewards:
        rewards = whiten(rewards, mask, mean_shift=False, statistics=moments(rewards, mask, all_reduce))
    episodes.rewards = rewards
    episodes.advantages, episodes.returns = gae(rewards, episodes.values, mask, algo.gamma, algo.lam)
    if algo.whiten_advantages:
        statistics = moments(episodes.advantages, mask, all_reduce)
        episodes.advantages = whiten(episodes.advantages, mask, statistics=statistics)


def episode_report(episodes: Episodes, kl_coef: float) -> Means:
    """What a practitioner watches, per response unless it says per token."""
    mask = episodes.mask
    logprobs, reference = episodes.logprobs, episodes.reference_logprobs
    kl = (k1(logprobs, reference) * mask).sum(-1)
    means = Means()
    means.add("objective/score", episodes.scores)
    means.add("objective/kl", kl)
    means.add("objective/kl3", (k3(logprobs, reference) * mask).sum(-1))
    means.add("objective/total_reward", episodes.shaped_scores - kl_coef * kl)
    means.add("policy/entropy", -logprobs[mask])  # per token: E[−log π] over what π itself drew
    means.add("response/length", mask.sum(-1))
    means.add("response/eos_rate", episodes.finished.double())
    return means


@torch.no_grad()
def judge_rows(
    rows: Sequence[Row], scorers: Scorers, config: TrainConfig, pad_id: int, device: torch.device
) -> dict[str, list[float]]:
    """Score and k1 KL (nats a response) of one-response rows, in their order."""
    temperature = config.rollout.temperature
    scores, kls = torch.zeros(len(rows)), torch.zeros(len(rows))
    for micro in equalise(cut(rows, config.train.tokens_per_microbatch), rows):
        batch = collate(micro.rows, pad_id).to(device)
        policy: Any = scorers.policy(batch, temperature=temperature)
        reference: Any = scorers.reference(batch, temperature=temperature)
        gap = k1(policy.logprobs, reference.logprobs)
        if micro.live:
            index = batch.row_index.cpu()
            scores[index] = scorers.reward(batch).float().cpu()
            kls[index] = batch.pad_responses(gap).sum(-1).cpu()
    return {"score": scores.tolist(), "kl": kls.tolist()}
