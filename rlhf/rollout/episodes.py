"""Episodes: what a rollout leaves behind for PPO to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.data.batch import Batch
from rlhf.data.records import Prompt
from rlhf.data.rows import Row
from rlhf.objectives.kl import k1
from rlhf.objectives.numeric import keep
from rlhf.rollout.sampling import Completion


@dataclass
class Episodes:
    """E sampled responses of at most L tokens, grouped in rows by prompt.

    Attributes:
        rows: a row a prompt, holding its responses; `rows[i].index == i`.
        first: number of the first episode of each row.
        mask: [E, L] bool, true at response tokens.
        finished: [E] bool, end-of-text was reached.
        logprobs, reference_logprobs, values, rewards, advantages, returns: [E, L] fp32, 0 outside the mask.
        step_rewards: [E, L], what steps change of the score of a process reward model, where they end.
        scores: [E], the weighted sum of what the sources say, before shaping; shaped_scores: [E], after it.
        components: [E] each, by name: what each source says, and what shaping adds.
    """

    rows: list[Row]
    first: list[int]
    mask: Tensor
    finished: Tensor
    logprobs: Tensor
    reference_logprobs: Tensor
    values: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor
    step_rewards: Tensor
    scores: Tensor
    shaped_scores: Tensor
    components: dict[str, Tensor] = field(default_factory=dict, init=False)

    @classmethod
    def of(
        cls,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Completion],
        device: torch.device,
        sources: Sequence[Prompt | None] | None = None,
    ) -> Episodes:
        """Rows and masks for `completions`, which are ordered by request and sample; the rest is zero.

        Args:
            sources: the prompts as they were read, see `Row.source`.
        """
        answers: list[list[Completion]] = [[] for _ in prompts]
        for completion in completions:
            answers[completion.request].append(completion)
        rows: list[Row] = []
        first: list[int] = []
        flat: list[Completion] = []
        for number, (prompt, group) in enumerate(zip(prompts, answers, strict=True)):
            source = None if sources is None else sources[number]
            rows.append(Row(tuple(prompt), tuple(c.tokens for c in group), index=number, source=source))
            first.append(len(flat))
            flat += group
        longest = max(len(c.tokens) for c in flat)
        lengths = torch.tensor([len(c.tokens) for c in flat], device=device)
        mask = torch.arange(longest, device=device)[None] < lengths[:, None]
        finished = torch.tensor([c.finished for c in flat], device=device)
        zeros = [torch.zeros(len(flat), longest, device=device) for _ in range(7)]
        ends = [torch.zeros(len(flat), device=device) for _ in range(2)]
        return cls(rows, first, mask, finished, *zeros, *ends)

    @classmethod
    def joined(cls, parts: Sequence[Episodes]) -> Episodes:
        """The episodes of several rollouts, in their order, as those of one."""
        if len(parts) == 1:
            return parts[0]
        rows: list[Row] = []
        first: list[int] = []
        episodes = 0
        for part in parts:
            first += [episodes + number for number in part.first]
            rows += [replace(row, index=len(rows) + row.index) for row in part.rows]
            episodes += len(part)
        longest = max(part.mask.shape[1] for part in parts)
        tensors = {}
        for attribute in fields(cls):
            columns = [getattr(part, attribute.name) for part in parts]
            if isinstance(columns[0], Tensor):
                wide = columns[0].ndim == 2
                tensors[attribute.name] = torch.cat(
                    [F.pad(c, (0, longest - c.shape[1])) if wide else c for c in columns]
                )
        whole = cls(rows=rows, first=first, **tensors)
        for name in parts[0].components:
            whole.components[name] = torch.cat([part.components[name] for part in parts])
        return whole

    def __len__(self) -> int:
        return len(self.mask)

    def kl(self) -> Tensor:
        """[E] nats: each response's log π − log π_ref, summed over its tokens; log-probabilities must stand already."""
        return keep(self.mask, k1(self.logprobs, self.reference_logprobs)).sum(-1)

    def numbers(self, batch: Batch) -> Tensor:
        """Episode numbers [R] of a batch's responses, in the batch's order."""
        found = [self.first[i] + k for i in batch.row_index.tolist() for k in range(len(self.rows[i].responses))]
        return torch.tensor(found, dtype=torch.long, device=self.mask.device)

    def flat(self, name: str, batch: Batch) -> Tensor:
        """The [N] entries of an [E, L] attribute at a batch's target tokens, in the batch's order."""
        numbers = self.numbers(batch)
        flat: Tensor = getattr(self, name)[numbers][self.mask[numbers]]
        return flat

    def put(self, name: str, batch: Batch, values: Tensor) -> None:
        """Write a batch's [R] numbers to the component of this name, which is made where it is new."""
        whole = self.components.setdefault(name, torch.zeros(len(self), device=self.mask.device))
        whole[self.numbers(batch)] = values.float()

    def store(self, name: str, batch: Batch, flat: Tensor) -> None:
        """Write a batch's [N] numbers to an [E, L] attribute."""
        numbers = self.numbers(batch)
        whole = getattr(self, name)
        part = whole[numbers]
        part[self.mask[numbers]] = flat.to(whole.dtype)
        whole[numbers] = part
