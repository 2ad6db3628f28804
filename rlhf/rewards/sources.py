"""The score of a response as a sum of named parts: learned models read tokens, functions and judges read texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.data.batch import Batch
from rlhf.data.records import Prompt
from rlhf.data.rows import Row
from rlhf.objectives.ensembles import combined, disagreement

MODEL = "model"

Score = Callable[..., Tensor]
"""Takes a `Batch`, and gives one score for each of its responses, [R]."""
TextScore = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float | None]]
"""One number for each completion, given its prompt; `None`: there is no opinion on it."""


class Rewards:
    """Σ weight · source, with every part kept by name.

    Args:
        models: reward models, one or an ensemble; none where texts alone decide.
        texts: sources that read texts, by name.
        weights: by name; 1 where nothing is said.
        combine, coef: how an ensemble becomes one score, see `combined`.
        text_of: the text of a response's tokens, as a reader sees it; needed where `texts` are.
        at_steps: whether the only model, a process reward model, is to say what each step changes of its score.
    """

    def __init__(
        self,
        models: Sequence[Score] = (),
        texts: Mapping[str, TextScore] | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        combine: str = "mean",
        coef: float = 0.0,
        text_of: Callable[[Sequence[int]], str] | None = None,
        at_steps: bool = False,
    ) -> None:
        self.models, self.texts = tuple(models), dict(texts or {})
        self.combine, self.coef, self.text_of, self.at_steps = combine, coef, text_of, at_steps
        given = weights or {}
        self.weights = {name: given.get(name, 1.0) for name in self.names}

    @classmethod
    def of(cls, reward: Score | Rewards) -> Rewards:
        """A single model, or any function of a batch, as the only source."""
        return reward if isinstance(reward, Rewards) else cls([reward])

    @property
    def names(self) -> list[str]:
        """The sources, in the order in which they are summed."""
        return ([MODEL] if self.models else []) + list(self.texts)

    @property
    def is_plain(self) -> bool:
        """Whether a single model gives the whole score."""
        return not self.texts and len(self.models) == 1 and self.weights[MODEL] == 1

    def modules(self) -> dict[str, nn.Module]:
        """The learned models, to be frozen and moved with the rest."""
        found = {f"reward_{i}" if i else "reward": model for i, model in enumerate(self.models)}
        return {name: model for name, model in found.items() if isinstance(model, nn.Module)}

    def changes(self, batch: Batch) -> Tensor | None:
        """What the steps of responses change of `model`'s score, one a target token [N], fp32; `None` unless
        `at_steps`."""
        return self.models[0](batch, at="changes") if self.at_steps else None

    def of_batch(self, batch: Batch, changes: Tensor | None = None) -> dict[str, Tensor]:
        """What the models say, [R] each, fp32: `model`; of an ensemble also its members and their disagreement.

        Args:
            changes: those of the batch, where they are known: their sums are the scores.
        """
        if not self.models:
            return {}
        if changes is not None:
            return {MODEL: batch.pad_responses(changes).sum(-1)}
        members = torch.stack([model(batch).float() for model in self.models])
        if len(members) == 1:
            return {MODEL: members[0]}
        parts = {MODEL: combined(members, self.combine, self.coef), f"{MODEL}_std": disagreement(members)}
        return parts | {f"{MODEL}_{i}": member for i, member in enumerate(members)}

    def of_rows(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """What the sources that read texts say of each response of rows, in order, [E] each; NaN: no opinion.

        Raises:
            ValueError: a row without its prompt as it was read.
        """
        if not self.texts:
            return {}
        assert self.text_of is not None
        prompts, completions = [], []
        for row in rows:
            if row.source is None:
                raise ValueError("what scores texts needs the prompts of rows as they were read (Row.source)")
            for response in row.responses:
                prompts.append(row.source)
                completions.append(self.text_of(response))
        found: dict[str, Tensor] = {}
        for name, source in self.texts.items():
            said: list[Any] = [float("nan") if score is None else score for score in source(prompts, completions)]
            found[name] = torch.tensor(said, dtype=torch.float32)
        return found

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Σ weight · part over the sources, [E]."""
        return torch.stack([self.weights[name] * parts[name] for name in self.names]).sum(0)
