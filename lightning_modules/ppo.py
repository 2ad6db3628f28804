"""Proximal policy optimisation from human feedback: one iteration is a rollout, its scoring, and epochs of updates."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from lightning_modules.averages import Means
from lightning_modules.base import StageModule
from lightning_modules.micro_batches import Micro, Step, cut, equalise
from lightning_modules.optimise import Term, optimise, target_tokens
from lightning_modules.parts import Parts
from lightning_modules.scoring import Scorers, advantages_of, episode_report, judge_rows, score_episodes
from rlhf.config import PPOConfig, TrainConfig
from rlhf.data.batch import Batch
from rlhf.data.rows import Row
from rlhf.errors import TrainingError
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.models.parallel.sharding import gathered
from rlhf.objectives.kl import AdaptiveKL, FixedKL
from rlhf.objectives.language import nll_sum
from rlhf.objectives.ppo import explained_variance, policy_loss, value_loss
from rlhf.rollout.episodes import Episodes
from rlhf.rollout.sampling import Request, Sampler, Sampling
from rlhf.rollout.uniforms import EVALUATE, TRAIN

log = logging.getLogger("rlhf")

KL_RAISE = 1.5
"""By how much `algo.kl_guard=raise` raises the coefficient after an iteration above the limit."""


class PPOModule(StageModule):
    """PPO as in Ziegler et al. 2019, Stiennon et al. 2020, Ouyang et al. 2022; details as in Huang et al. 2024.

    Args:
        policy: what learns; with `algo.critic=shared` it carries the value head.
        critic: a `ScoreModel` of its own, or `None` where the critic is shared.
        reference: the frozen policy of before.
        reward: maps a batch to one score a response, [R].
        sampler: draws from `policy` as it is at that moment.
        ptx: rows of documents whose language-model loss is mixed in (PPO-ptx), by the number of the update.
    """

    headline = ("objective/score", "objective/kl", "policy/entropy", "val/score", "val/kl")

    def __init__(
        self,
        config: TrainConfig,
        total_steps: int,
        policy: LanguageModel,
        critic: ScoreModel | None,
        reference: LanguageModel,
        reward: Callable[[Batch], Tensor],
        sampler: Sampler,
        ptx: Callable[[int], Sequence[Any]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(config, total_steps, **options)
        assert isinstance(config.algo, PPOConfig)
        self.algo: PPOConfig = config.algo
        self.policy, self.critic = policy, critic
        self.others = {"reference": reference, "reward": reward}  # a dictionary: outside of the module tree
        self.sampler = sampler
        self.ptx = ptx
        adaptive = self.algo.kl_controller == "adaptive"
        self.kl: AdaptiveKL | FixedKL = (
            AdaptiveKL(self.algo.kl_coef, self.algo.kl_target, self.algo.kl_horizon)
            if adaptive
            else FixedKL(self.algo.kl_coef)
        )

    @classmethod
    def build(cls, parts: Parts) -> Self:
        kind = parts.config.algo.value_model()
        return cls(
            policy=parts.policy(value_head=kind == "shared"),
            reference=parts.reference(),
            reward=parts.reward(),
            critic=parts.critic() if kind == "separate" else None,
            sampler=parts.sampler(),
            ptx=parts.documents(),
            **parts.options,
        )

    def trained(self) -> dict[str, nn.Module]:
        return {"policy": self.policy} | ({"critic": self.critic} if self.critic is not None else {})

    def frozen(self) -> dict[str, nn.Module]:
        return {name: model for name, model in self.others.items() if isinstance(model, nn.Module)}

    def learning_rates(self) -> dict[str, float]:
        critic_lr = self.algo.lr if self.algo.critic_lr is None else self.algo.critic_lr
        return {"policy": self.algo.lr} | ({"critic": critic_lr} if self.critic is not None else {})

    @property
    def scorers(self) -> Scorers:
        return Scorers(self.policy, self.critic, self.others["reference"], self.others["reward"])  # type: ignore[arg-type]

    def sampling(self) -> Sampling:
        return Sampling(
            max_new_tokens=self.config.rollout.max_new_tokens,
            temperature=self.config.rollout.temperature,
            samples_per_prompt=self.algo.samples_per_prompt,
        )

    # -- one iteration ---------------------------------------------------------------------------------------------

    def learn(self, step: Step) -> dict[str, float]:
        prompts = [row.prompt for micro in step.micros for row in micro.rows]
        clock = [time.perf_counter()]
        episodes = self.roll_out(prompts, self.sampling(), TRAIN)
        clock.append(time.perf_counter())
        score_episodes(episodes, self.scorers, self.algo, self.config, self.pad_id)
        advantages_of(episodes, self.algo, self.kl.value, self.all_reduce)
        means = episode_report(episodes, self.kl.value)
        objective = means.reduce(self.all_reduce)
        objective["value/explained_variance"] = float(
            explained_variance(episodes.values, episodes.returns, episodes.mask, self.all_reduce)
        )
        self.check_kl(objective["objective/kl"])
        clock.append(time.perf_counter())
        with self.reference_head():
            metrics = self.update(episodes)
        clock.append(time.perf_counter())
        objective["objective/kl_coef"] = self.kl.value
        n_episodes = int(self.all_reduce(torch.tensor(float(len(episodes)))))
        self.steer_kl(objective["objective/kl"], n_episodes)
        rollout, scoring, learning = np.diff(clock)
        generated = float(self.all_reduce(episodes.mask.sum().double().cpu()))
        times = {"time/rollout": rollout, "time/scoring": scoring, "time/learning": learning}
        return metrics | objective | times | {"time/generated_tokens_per_second": generated / rollout}

    def check_kl(self, kl: float) -> None:
        """Stop before learning from a policy that has left its reference, where that is wanted.

        Raises:
            TrainingError: the mean KL (nats a response) is above the limit.
        """
        algo = self.algo
        if algo.kl_guard == "stop" and kl > algo.kl_limit:
            raise TrainingError(
                f"step {self.step + 1}: the KL to the reference is {kl:.4g} nats a response, above algo.kl_limit="
                f"{algo.kl_limit:g}; the weights are as before this step: start again with a higher algo.kl_coef than "
                f"{algo.kl_coef:g} or a lower algo.lr than {algo.lr:g}, or pass algo.kl_guard=raise"
            )

    def steer_kl(self, kl: float, n_episodes: int) -> None:
        """Set the coefficient of the next iteration."""
        if not math.isfinite(kl):
            return  # nothing was learned from it either
        self.kl.update(kl, n_episodes)
        if self.algo.kl_guard == "raise" and kl > self.algo.kl_limit:
            self.kl.value *= KL_RAISE
            if self.global_rank == 0:
                log.warning(
                    "step %d: the KL to the reference is %.4g nats a response, above algo.kl_limit=%g; its coefficient "
                    "is %.4g from now on",
                    self.step + 1,
                    kl,
                    self.algo.kl_limit,
                    self.kl.value,
                )

    def roll_out(self, prompts: Sequence[tuple[int, ...]], sampling: Sampling, stream: int) -> Episodes:
        """Sample responses. A prompt's number is its place in the batch over all ranks, so ranks don't matter."""
        requests = [Request(self.data_rank + i * self.data_ranks, prompt) for i, prompt in enumerate(prompts)]
        completions = self.sampler.sample(
            requests,
            sampling,
            seed=self.config.seed,
            iteration=self.step,
            stream=stream,
            progress=lambda done, total: self.on_progress("rollout", done, total),
        )
        return Episodes.of(prompts, completions, self.device)

    def update(self, episodes: Episodes) -> dict[str, float]:
        """Epochs of shuffled minibatches; stops early where the policy has moved further than `algo.target_kl`."""
        history: list[dict[str, float]] = []
        updates = self.algo.epochs * self.algo.minibatches
        for epoch in range(self.algo.epochs):
            for rows in self.minibatches(episodes, epoch):
                micros = equalise(cut(rows, self.config.train.tokens_per_microbatch), episodes.rows)
                terms = []
                if self.ptx is not None:
                    documents = cut(
                        self.ptx(self.step * updates + len(history)),
                        self.config.train.tokens_per_microbatch,
                        self.data_rank,
                        self.data_ranks,
                    )
                    terms.append(Term(documents, self.ptx_loss, target_tokens, self.algo.ptx_coef))
                # Last, since gradients are synchronised with the last backward pass: this one reaches a critic of its
                # own too, which the documents never do, and ddp counts each parameter once.
                terms.append(Term(micros, lambda batch: self.loss_sum(episodes, batch), target_tokens))
                history.append(optimise(self, terms))
                self.on_progress("learning", len(history), updates)
                # 1.5 as in Spinning Up and Stable-Baselines3; the update that went too far has been made.
                if self.algo.target_kl is not None and history[-1]["policy/approx_kl"] > 1.5 * self.algo.target_kl:
                    return self.summary(history)
        return self.summary(history)

    def reference_head(self) -> AbstractContextManager[None]:
        """With the KL in the loss, the reference's head is read outside of its forward pass, in backward passes too."""
        reference: Any = self.others["reference"]
        return gathered(reference, root_only=True) if self.algo.kl_in == "loss" else nullcontext()

    def minibatches(self, episodes: Episodes, epoch: int) -> list[list[Any]]:
        """This rank's rows of each minibatch: one permutation of the whole batch, drawn from (seed, step, epoch)."""
        world, rank = self.data_ranks, self.data_rank
        n = int(self.all_reduce(torch.tensor(float(len(episodes.rows)))))
        key = np.array([self.config.seed, (2 << 48) + self.step * 1024 + epoch], dtype=np.uint64)
        order = np.random.Generator(np.random.Philox(key=key)).permutation(n)
        parts = np.array_split(order, self.algo.minibatches)
        return [[episodes.rows[i // world] for i in sorted(part.tolist()) if i % world == rank] for part in parts]

    def loss_sum(self, episodes: Episodes, batch: Batch) -> tuple[Tensor, Means]:
        """Clipped policy loss + value_coef · clipped value loss − entropy_coef · entropy, summed over tokens."""
        algo, temperature = self.algo, self.config.rollout.temperature
        reference = None
        if algo.kl_in == "loss":
            model: Any = self.others["reference"]
            with torch.no_grad():
                reference = (model(batch, want_hidden=True), model.head)
        stats: Any = self.policy(
            batch, temperature=temperature, want_entropy=algo.entropy_coef != 0, reference=reference
        )
        values = stats.values if self.critic is None else self.critic(batch, at="sources")
        policy = policy_loss(
            stats.logprobs, episodes.flat("logprobs", batch), episodes.flat("advantages", batch), algo.clip_epsilon
        )
        value = value_loss(values, episodes.flat("values", batch), episodes.flat("returns", batch), algo.clip_value)
        loss = policy.losses.sum() + algo.value_coef * value.losses.sum()
        if stats.entropy is not None:
            loss = loss - algo.entropy_coef * stats.entropy.sum()
        if stats.kl is not None:
            loss = loss + self.kl.value * stats.kl.sum()
        report = Means()
        report.add("policy/loss", policy.losses)
        report.add("policy/clip_fraction", policy.clipped.float())
        report.add("policy/approx_kl", policy.approx_kl)
        report.add("policy/ratio", policy.ratio)
        report.add("value/loss", value.losses)
        report.add("value/clip_fraction", value.clipped.float())
        return loss, report

    def ptx_loss(self, batch: Batch) -> tuple[Tensor, Means]:
        """Language-model loss of documents, mixed in with `algo.ptx_coef` (Ouyang et al. 2022, eq. 2)."""
        stats: Any = self.policy(batch)
        loss = nll_sum(stats.logprobs)
        if stats.values is not None:  # every parameter takes part in every backward pass, or ranks would wait
            loss = loss + 0.0 * stats.values.sum()
        report = Means()
        report.add("policy/ptx_loss", -stats.logprobs)
        return loss, report

    def summary(self, history: Sequence[dict[str, float]]) -> dict[str, float]:
        """Means over the iteration's updates; tokens are added up; the first ratio shows whether sampling agrees."""
        made = [h for h in history if all(map(math.isfinite, h.values()))] or history
        metrics = {name: float(np.mean([h[name] for h in made])) for name in history[0]}
        metrics["tokens"] = float(np.sum([h["tokens"] for h in history]))
        metrics["skipped"] = history[-1]["skipped"]
        metrics["policy/updates"] = float(len(history))
        return metrics

    def judge(self, rows: Sequence[Row]) -> dict[str, list[float]]:
        return judge_rows(rows, self.scorers, self.config, self.pad_id, self.device)

    # -- held-out prompts ------------------------------------------------------------------------------------------

    def measure(self, batch: Batch) -> Means:
        raise NotImplementedError("PPO is measured on samples, see validation_step")

    @torch.no_grad()
    def validation_step(self, micro: Micro, batch_idx: int) -> None:
        """One sample for each held-out prompt at the training temperature: score, KL, length."""
        sampling = Sampling(self.config.rollout.max_new_tokens, self.config.rollout.temperature)
        episodes = self.roll_out([row.prompt for row in micro.rows], sampling, EVALUATE)
        score_episodes(episodes, self.scorers, self.algo, self.config, self.pad_id)
        report = episode_report(episodes, self.kl.value)
        self._val.merge(report if micro.live else report.zeroed())
        self.last_episodes = episodes

    def finish_validation(self, metrics: dict[str, float]) -> dict[str, float]:
        return {f"val/{name.split('/')[1]}": value for name, value in metrics.items()}

    def extra_state(self) -> dict[str, Any]:
        return {"kl": self.kl.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.kl.load_state_dict(state["kl"])
