"""What algorithms share that learn from answers of their own policy; each adds its advantages and its loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lightning_modules.base import StageModule
from lightning_modules.on_policy.kl_control import KLControl, to_current
from lightning_modules.on_policy.regularisers import Regularisers
from lightning_modules.on_policy.score_shaping import ScoreShaping
from lightning_modules.on_policy.scoring import Scorers, episode_report, moving_reference, reference_of
from lightning_modules.parts import Parts
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Micro, Step, cut, equalise
from lightning_modules.updates.minibatches import minibatches, summary
from lightning_modules.updates.moving_weights import MovingReference, StandIn
from lightning_modules.updates.optimise import Term, optimise, target_tokens
from lightning_modules.updates.stopwatch import phase
from rlhf.config import OnPolicyConfig, TrainConfig
from rlhf.data.batch import Batch
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel
from rlhf.models.logprobs import TokenStats
from rlhf.objectives.language import nll_sum
from rlhf.rewards.sources import Rewards, Score
from rlhf.rollout.episodes import Episodes
from rlhf.rollout.sampling import Request, Sampler, Sampling
from rlhf.rollout.uniforms import EVALUATE, TRAIN


class OnPolicyModule(StageModule):
    """Rollouts, their scores, minibatches, the control of KL, and validation on samples (Ziegler et al. 2019).

    Subclasses say how episodes become advantages, and how a micro-batch of them becomes a loss.

    Args:
        policy: what learns.
        reference: the frozen policy of before; `None` with `algo.reference=false`.
        reward: where scores come from, or a function that maps a batch to one score a response, [R].
        sampler: draws from `policy` as it is at that moment.
        ptx: rows of documents whose language-model loss is mixed in (PPO-ptx), by the number of the update.
    """

    headline = ("objective/score", "objective/kl", "policy/entropy", "val/score", "val/kl")
    algo: OnPolicyConfig

    def __init__(
        self,
        config: TrainConfig,
        total_steps: int,
        policy: LanguageModel,
        reference: LanguageModel | None,
        reward: Score | Rewards,
        sampler: Sampler,
        ptx: Callable[[int], Sequence[Row]] | None = None,
    ) -> None:
        super().__init__(config, total_steps)
        assert isinstance(config.algo, OnPolicyConfig)
        self.algo = config.algo
        self.policy = policy
        # No module itself, so what it holds stays outside of the module tree.
        rewards = Rewards.of(reward)
        self.scorers = Scorers(reference, rewards, config.rollout.temperature, config.train.tokens_per_microbatch)
        self.shaping = ScoreShaping(config.algo, config.reward, rewards)
        self.regularisers = Regularisers(config.algo, self.scorers)
        self.sampler = sampler
        self.ptx = ptx
        self.kl = KLControl(config.algo)
        self.moving = moving_reference(self.algo, reference)
        self.phase_seconds: defaultdict[str, float] = defaultdict(float)

    @classmethod
    def build(cls, parts: Parts) -> Self:
        models = parts.policy(), reference_of(parts), parts.reward()
        return cls(parts.config, parts.total_steps, *models, parts.sampler(), parts.documents())

    def trained(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def frozen(self) -> dict[str, nn.Module]:
        return self.scorers.modules()

    def stand_ins(self) -> list[StandIn]:
        return super().stand_ins() + ([] if self.moving is None else [self.moving])

    # -- one iteration ---------------------------------------------------------------------------------------------

    def learn(self, step: Step) -> dict[str, float]:
        """One iteration (Ziegler et al. 2019, §2; Ouyang et al. 2022, §3.5)."""
        episodes = self.gather(step.rows)
        self.estimate_advantages(episodes)
        found = self.report(episodes)
        kl = found.get("objective/kl", 0.0)
        self.kl.check(kl, self.step + 1)
        updates = self.update(episodes)
        self.kl.adapt(kl, self.over_ranks(len(episodes)), self.step + 1, told=self.global_rank == 0)
        return updates | (found if self.moving is None else self.move(self.moving, found))

    def move(self, reference: MovingReference, found: dict[str, float]) -> dict[str, float]:
        """Let the reference follow where it is time; returns an iteration's metrics, by names that are then true."""
        if (self.step + 1) % (self.algo.reference_sync_steps or 1) == 0:
            reference.follow(self.policy)
        return to_current(found)

    def gather(self, rows: Sequence[Row]) -> Episodes:
        """Sampled and scored responses to an iteration's prompts."""
        episodes = self.roll_out(rows, self.sampling(), TRAIN)
        self.score(episodes)
        return episodes

    def sampling(self) -> Sampling:
        return Sampling(
            max_new_tokens=self.config.rollout.max_new_tokens,
            temperature=self.config.rollout.temperature,
            samples_per_prompt=self.algo.samples_per_prompt,
        )

    @phase("time/rollout")
    def roll_out(self, rows: Sequence[Row], sampling: Sampling, stream: int, first: int = 0) -> Episodes:
        """Sample responses. A prompt's number is its place in the batch over all ranks, so ranks don't matter.

        Args:
            first: place of the first row among this rank's of the batch.
        """
        prompts = [row.prompt for row in rows]
        completions = self.sampler.sample(
            [Request(self.number(first + i), prompt) for i, prompt in enumerate(prompts)],
            sampling,
            seed=self.config.seed,
            iteration=self.step,
            stream=stream,
            progress=lambda done, total: self.on_progress("rollout", done, total),
        )
        return Episodes.of(prompts, completions, self.device, [row.source for row in rows])

    def number(self, place: int) -> int:
        """The number, in the batch over all ranks, of the row at a place among this rank's."""
        return self.data_rank + place * self.data_ranks

    @phase("time/scoring")
    @torch.no_grad()
    def score(self, episodes: Episodes, *, learns: bool = True) -> None:
        """Fill log-probabilities (of policy and reference, at the sampling temperature), values and scores.

        Args:
            learns: whether these are episodes to learn from, which running statistics of scores take in.
        """
        for found in self.scorers.score(self.policy, episodes.rows, self.device):
            values = self.values_of(found.batch, found.policy)
            if found.live:
                episodes.store("logprobs", found.batch, found.policy.logprobs)
                episodes.store("reference_logprobs", found.batch, found.reference_logprobs)
                if values is not None:
                    episodes.store("values", found.batch, values)
                if found.changes is not None:
                    episodes.store("step_rewards", found.batch, found.changes)
                for name, scores in found.parts.items():
                    episodes.put(name, found.batch, scores)
        self.shaping.finish(episodes, self.all_reduce, learns=learns)

    def values_of(self, batch: Batch, stats: TokenStats) -> Tensor | None:
        """What a critic expects at each of the N target tokens, where there is one.

        Args:
            stats: the policy's of the same tokens.
        """
        return None

    def estimate_advantages(self, episodes: Episodes) -> None:
        """Fill `advantages`, and what else `loss_sum` needs, from scores and log-probabilities."""
        raise NotImplementedError

    @phase("time/scoring")
    def report(self, episodes: Episodes) -> dict[str, float]:
        """What the iteration's episodes are like, over all ranks."""
        means = episode_report(episodes, self.kl.value, with_kl=self.scorers.knows_kl)
        means.total("generated_tokens", episodes.mask.sum())
        return means.reduce(self.all_reduce) | ({"objective/kl_coef": self.kl.value} if self.scorers.knows_kl else {})

    @phase("time/learning")
    def update(self, episodes: Episodes) -> dict[str, float]:
        """Epochs of shuffled minibatches; stops early where the policy has moved further than `algo.target_kl`."""
        algo, history = self.algo, list[dict[str, float]]()
        updates = algo.epochs * algo.minibatches
        with self.regularisers.reference_head():
            for epoch in range(algo.epochs):
                for rows in self.minibatches(episodes, epoch):
                    history.append(optimise(self, self.terms(episodes, rows, self.step * updates + len(history))))
                    self.on_progress("learning", len(history), updates)
                    # 1.5 as in Spinning Up and Stable-Baselines3; the update that went too far has been made.
                    if algo.target_kl is not None and history[-1]["policy/approx_kl"] > 1.5 * algo.target_kl:
                        return summary(history)
        return summary(history)

    def terms(self, episodes: Episodes, rows: Sequence[Row], number: int) -> list[Term]:
        """The parts of the loss of a minibatch; `number` counts the updates of the whole run."""
        budget = self.config.train.tokens_per_microbatch
        terms = []
        if self.ptx is not None:
            documents = cut(self.ptx(number), budget, self.data_rank, self.data_ranks)
            terms.append(Term(documents, self.ptx_loss, target_tokens, self.algo.ptx_coef))
        # Last, since gradients are synchronised with the last backward pass: this one reaches a critic of its own too,
        # which the documents never do, and ddp counts each parameter once.
        micros = equalise(cut(rows, budget), episodes.rows)
        terms.append(Term(micros, lambda batch: self.loss_sum(episodes, batch), self.weight))
        return terms

    def minibatches(self, episodes: Episodes, epoch: int) -> list[list[Row]]:
        """This rank's rows of each minibatch: one permutation of the whole batch, drawn from (seed, step, epoch)."""
        return minibatches(
            self.learnt(episodes),
            self.algo.minibatches,
            seed=self.config.seed,
            step=self.step,
            epoch=epoch,
            rank=self.data_rank,
            ranks=self.data_ranks,
        )

    def learnt(self, episodes: Episodes) -> Sequence[Row | None]:
        """What the updates learn from of each of `episodes.rows`: its responses, some of them, or nothing at all."""
        return episodes.rows

    def over_ranks(self, count: int) -> int:
        """A count of this rank's, summed over all of them."""
        return int(self.all_reduce(torch.tensor(float(count))))

    # -- the loss --------------------------------------------------------------------------------------------------

    def loss_sum(self, episodes: Episodes, batch: Batch) -> tuple[Tensor, Means]:
        """The loss of a micro-batch, summed over what `weight` counts, and what to report of it.

        The report has `policy/approx_kl`, by which `algo.target_kl` stops an iteration.
        """
        raise NotImplementedError

    def weight(self, batch: Batch) -> float:
        """A micro-batch's share of the denominator."""
        return target_tokens(batch)

    @property
    def kl_price(self) -> float:
        """What a nat costs in the loss with `algo.kl_in=loss`, in the unit of the advantages there."""
        return self.kl.value

    def ptx_loss(self, batch: Batch) -> tuple[Tensor, Means]:
        """Language-model loss of documents, mixed in with `algo.ptx_coef` (Ouyang et al. 2022, eq. 2)."""
        stats = self.policy(batch)
        loss = nll_sum(stats.logprobs)
        if stats.values is not None:  # every parameter takes part in every backward pass, or ranks would wait
            loss = loss + 0.0 * stats.values.sum()
        report = Means()
        report.add("policy/ptx_loss", -stats.logprobs)
        return loss, report

    def extra_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"kl": self.kl.state_dict(), "scores": self.shaping.state_dict()}
        return state if self.moving is None else state | {"reference": self.moving.state()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.kl.load_state_dict(state["kl"])
        if "scores" in state:  # checkpoints of before had none to save
            self.shaping.load_state_dict(state["scores"])
        if self.moving is not None:
            self.moving.load(state["reference"])

    # -- times, samples and held-out prompts -----------------------------------------------------------------------

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.phase_seconds.clear()

    def with_speed(self, metrics: dict[str, float], seconds: float) -> dict[str, float]:
        generated = metrics.pop("generated_tokens")
        times = dict(self.phase_seconds)
        times["time/generated_tokens_per_second"] = generated / times["time/rollout"]
        return super().with_speed(metrics, seconds) | times

    @torch.no_grad()
    def judge(self, rows: Sequence[Row]) -> dict[str, list[float]]:
        return self.scorers.marks(self.policy, rows, self.device)

    def measure(self, batch: Batch) -> Means:
        raise NotImplementedError("on-policy algorithms are measured on samples, see validation_step")

    @torch.no_grad()
    def validation_step(self, micro: Micro, batch_idx: int) -> None:
        """One sample for each held-out prompt at the training temperature: score, KL, length."""
        sampling = Sampling(self.config.rollout.max_new_tokens, self.config.rollout.temperature)
        episodes = self.roll_out(micro.rows, sampling, EVALUATE)
        self.score(episodes, learns=False)
        report = episode_report(episodes, self.kl.value, with_kl=self.scorers.knows_kl)
        self._val.merge(report if micro.live else report.zeroed())

    def finish_validation(self, metrics: dict[str, float]) -> dict[str, float]:
        return {f"val/{name.split('/', 1)[1]}": value for name, value in metrics.items()}
