"""What the models that only answer say of sampled responses, and how an iteration's episodes are reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_modules.parts import Parts
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import cut, equalise
from lightning_modules.updates.moving_weights import MovingReference
from rlhf.config import OnPolicyConfig
from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel
from rlhf.models.logprobs import TokenStats
from rlhf.objectives.kl import k1, k3
from rlhf.rewards.sources import Rewards
from rlhf.rollout.episodes import Episodes


@dataclass(frozen=True)
class Scored:
    """A micro-batch of N response tokens in R responses, as policy, reference and reward model see it.

    Attributes:
        live: whether it counts; a dead one only keeps the ranks in step.
        policy: of the N tokens, at the sampling temperature.
        reference_logprobs: [N], likewise.
        parts: [R] each, by name: what the learned models say.
        changes: [N], what steps change of the score, where that is asked for.
    """

    batch: Batch
    live: bool
    policy: TokenStats
    reference_logprobs: Tensor
    parts: dict[str, Tensor]
    changes: Tensor | None = None


@dataclass(frozen=True)
class Scorers:
    """What answers and doesn't learn.

    Attributes:
        reference: the policy as it was before; `None` where no KL is measured, and the policy stands in for it.
        rewards: where scores come from.
        temperature: of the rollouts.
    """

    reference: LanguageModel | None
    rewards: Rewards
    temperature: float
    tokens_per_microbatch: int

    @property
    def knows_kl(self) -> bool:
        """Whether there is a reference to measure KL from."""
        return self.reference is not None

    def modules(self) -> dict[str, nn.Module]:
        """The models, to be frozen and moved with the rest."""
        found = self.rewards.modules()
        return found if self.reference is None else {"reference": self.reference} | found

    def score(self, policy: LanguageModel, rows: Sequence[Row], device: torch.device) -> Iterator[Scored]:
        """This rank's rows in micro-batches; to be used up without gradients, by all ranks together.

        The policy's own log-probabilities are recomputed in the micro-batches that learn, rather than taken from the
        sampler: the first ratio is then 1 whatever engine or precision did the sampling.
        """
        for micro in equalise(cut(rows, self.tokens_per_microbatch), rows):
            batch = collate(micro.rows).to(device)
            stats = policy(batch, temperature=self.temperature)
            other = stats if self.reference is None else self.reference(batch, temperature=self.temperature)
            changes = self.rewards.changes(batch)
            parts = self.rewards.of_batch(batch, changes)
            yield Scored(batch, micro.live, stats, other.logprobs, parts, changes)

    def marks(self, policy: LanguageModel, rows: Sequence[Row], device: torch.device) -> dict[str, list[float]]:
        """Score of one-response rows, KL where it is known, and the score's parts where there are several, by name.

        To be called without gradients, by all ranks together.
        """
        kls, parts = torch.zeros(len(rows)), self.rewards.of_rows(rows)
        for found in self.score(policy, rows, device):
            gap = k1(found.policy.logprobs, found.reference_logprobs)
            if found.live:
                index = found.batch.row_index.cpu()
                for name, said in found.parts.items():
                    parts.setdefault(name, torch.zeros(len(rows)))[index] = said.cpu()
                kls[index] = found.batch.pad_responses(gap).sum(-1).cpu()
        marks = {"score": self.rewards.total(parts).tolist()} | ({"kl": kls.tolist()} if self.knows_kl else {})
        if self.rewards.is_plain:
            return marks
        return marks | {f"reward/{name}": said.tolist() for name, said in parts.items()}


def episode_report(episodes: Episodes, kl_coef: float, *, with_kl: bool = True) -> Means:
    """Metrics to watch, per response unless the name says per token.

    Args:
        with_kl: whether there is a reference to measure it from.
    """
    mask = episodes.mask
    logprobs, reference = episodes.logprobs, episodes.reference_logprobs
    kl = episodes.kl()
    means = Means()
    means.add("objective/score", episodes.scores)
    if with_kl:
        means.add("objective/kl", kl)
        means.add("objective/kl3", (k3(logprobs, reference) * mask).sum(-1))
    means.add("objective/total_reward", episodes.shaped_scores - kl_coef * kl)
    means.add("policy/entropy", -logprobs[mask])  # per token: E[−log π] over what π itself drew
    for name, values in episodes.components.items():
        means.add(f"objective/reward/{name}", values)
    means.add("response/length", mask.sum(-1))
    means.add("response/eos_rate", episodes.finished.double())
    return means


def reference_of(parts: Parts) -> LanguageModel | None:
    """The frozen policy of before, unless `algo.reference=false`."""
    return parts.reference() if parts.config.algo.keeps_reference() else None


def moving_reference(algo: OnPolicyConfig, reference: LanguageModel | None) -> MovingReference | None:
    """What moves the reference, where it moves (`algo.reference_sync_steps`)."""
    if reference is None or algo.reference_sync_steps is None:
        return None
    return MovingReference(reference, algo.reference_mixup, keeps_first=True)
