"""A process reward model as a source of scores: a response is split into steps, whose scores become one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlhf.data.steps import step_ends
from rlhf.models.language import ScoreModel
from rlhf.objectives.process import Combine, combined_steps, score_changes

if TYPE_CHECKING:
    from rlhf.data.batch import Batch
    from rlhf.data.tokenizers.tokenizer import Tokenizer

SEPARATOR = "step_separator"
"""Key of an export's `config.json` that only process reward models have: what stands between two steps."""


class ProcessScorer(ScoreModel):
    """Reads any response's score as a probability in [0, 1], combined of its steps'.

    Args:
        hf: the backbone with its scalar head, of a process reward model.
        separator: what stands between two steps.
        bytes_of: what a token stands for.
        combine: how steps become one score.
    """

    def __init__(self, hf: Any, separator: str, bytes_of: Callable[[int], bytes], combine: Combine = "min") -> None:
        super().__init__(hf)
        self.separator, self.bytes_of, self.combine = separator, bytes_of, combine

    def forward(self, batch: Batch, *, at: str = "ends") -> Tensor:
        """Scores in fp32.

        Args:
            at: "ends": one a response [R], in [0, 1]; "changes": of each token of each response, in their order, by how
                much a step that ends there changes the score, 0 elsewhere.
        """
        if at not in ("ends", "changes"):
            return super().forward(batch, at=at)
        stepped = self.stepped(batch)
        logits = super().forward(stepped, at="steps")
        response, n = stepped.step_response, batch.n_responses
        if at == "ends":
            return combined_steps(logits, response, n, self.combine) if n else logits
        lengths = torch.tensor([length for row in batch.response_lengths for length in row], device=logits.device)
        first = lengths.cumsum(0) - lengths
        changes = torch.zeros(int(lengths.sum()), device=logits.device)
        if n:
            changes[first[response] + stepped.step_times] = score_changes(logits, response, n, self.combine)
        return changes

    def stepped(self, batch: Batch) -> Batch:
        """The batch with the places where the steps of its responses end, whatever labels it has."""
        tokens = batch.tokens.tolist()
        lengths = (length for row in batch.response_lengths for length in row)
        found: list[tuple[int, int, int, int]] = []
        for number, (line, index, length) in enumerate(
            zip(batch.end_rows.tolist(), batch.end_indices.tolist(), lengths, strict=True)
        ):
            first = index + 1 - length
            times = step_ends(tokens[line][first : index + 1], self.bytes_of, self.separator)
            found += [(line, first + time, number, time) for time in times]
        # [4, S], also where there is no response.
        columns = torch.tensor(found, dtype=torch.long, device=batch.tokens.device).reshape(len(found), 4).T
        return replace(
            batch,
            step_rows=columns[0],
            step_indices=columns[1],
            step_response=columns[2],
            step_times=columns[3],
            step_labels=torch.zeros(len(found), device=batch.tokens.device),
        )


def is_process_model(model: ScoreModel) -> bool:
    """Whether the weights are those of a process reward model."""
    return bool(getattr(model.hf.config, SEPARATOR, None))


def forget_steps(model: ScoreModel) -> None:
    """Weights that something else is trained from are no process reward model's any more, and nor is its export."""
    if hasattr(model.hf.config, SEPARATOR):
        delattr(model.hf.config, SEPARATOR)


def as_trained(model: ScoreModel, tokenizer: Tokenizer, combine: str = "min") -> ScoreModel:
    """A reward model as its scores are meant: step by step where it was trained on steps, else as it is.

    Args:
        combine: see `rlhf.objectives.process.running_scores`.
    """
    if not is_process_model(model):
        return model
    return ProcessScorer(model.hf, getattr(model.hf.config, SEPARATOR), tokenizer.token_bytes, combine)  # type: ignore[arg-type]
