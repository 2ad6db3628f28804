"""What a model answers, how likely that is under it and under others, and how well it predicts a text."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rlhf.data.batch import collate, microbatches
from rlhf.data.rows import Row
from rlhf.data.templates.template import Template
from rlhf.models.language import LanguageModel
from rlhf.objectives.kl import k1
from rlhf.objectives.language import bits_per_byte
from rlhf.progress import ProgressBar
from rlhf.rollout.sampling import Progress, Request, Sampler, Sampling
from rlhf.rollout.uniforms import EVALUATE

TOKENS_PER_MICROBATCH = 4096
"""Padded tokens that are scored at once: sets memory, changes no result."""


@dataclass(frozen=True)
class Answer:
    """One sampled answer.

    Attributes:
        text: without end-of-text and surrounding space.
        row: the prompt's tokens and, as the only response, those drawn, end-of-text included where it was reached.
        logprob: of all drawn tokens together (nats), under the distribution they were drawn from.
        finished: whether end-of-text was reached.
    """

    text: str
    row: Row
    logprob: float
    finished: bool

    @property
    def length(self) -> int:
        """Drawn tokens, end-of-text included."""
        return len(self.row.responses[0])


def seed_of(seed: int, *labels: str) -> int:
    """A seed in [0, 2³²) for one purpose: models that share a seed would draw the same uniforms.

    It depends on names, not on the order, so that a model answers the same whatever it is compared with.
    """
    digest = hashlib.sha256("\n".join([f"evaluation {seed}", *labels]).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def sample_answers(
    sampler: Sampler,
    template: Template,
    rows: Sequence[Row],
    sampling: Sampling,
    seed: int,
    progress: Progress | None = None,
) -> list[list[Answer]]:
    """`sampling.samples_per_prompt` answers to each prompt; `Row.index` is its number to the random draws."""
    requests = [Request(row.index, row.prompt) for row in rows]
    answers: list[list[Answer]] = [[] for _ in rows]
    for c in sampler.sample(requests, sampling, seed=seed, iteration=0, stream=EVALUATE, progress=progress):
        row = Row(rows[c.request].prompt, (c.tokens,), index=rows[c.request].index)
        answers[c.request].append(Answer(template.parse(c.tokens), row, sum(c.logprobs), c.finished))
    return answers


@torch.no_grad()
def response_logprobs(
    model: LanguageModel,
    rows: Sequence[Row],
    temperature: float = 1.0,
    budget: int = TOKENS_PER_MICROBATCH,
    what: str = "log-probabilities",
) -> list[float]:
    """log π(response | prompt) of each one-response row, in nats, at a temperature > 0.

    Args:
        what: what they are computed for, as progress is titled.
    """
    device = next(model.parameters()).device
    found = [0.0] * len(rows)
    numbered = [Row(row.prompt, row.responses, index=number) for number, row in enumerate(rows)]
    with ProgressBar(what, len(rows)) as progress:
        for micro in microbatches(numbered, budget):
            batch = collate(micro).to(device)
            logprobs = model(batch, temperature=temperature).logprobs.double()
            sums = batch.pad_responses(logprobs).sum(-1)
            for row, value in zip(micro, sums.tolist(), strict=True):
                found[row.index] = value
            progress(progress.done + len(micro))
    return found


def kl_to_reference(answers: Sequence[Answer], reference: LanguageModel, temperature: float) -> float | None:
    """k1 = mean over answers of Σ_tokens (log π − log π_ref), in nats per response: unbiased for KL(π ‖ π_ref).

    Args:
        answers: drawn from π at `temperature`, without top-k and top-p; none make no number.
        reference: reads the same tokens.
    """
    if not answers:
        return None
    theirs = response_logprobs(reference, [answer.row for answer in answers], temperature, what="KL of answers")
    mine = torch.tensor([answer.logprob for answer in answers], dtype=torch.float64)
    return float(k1(mine, torch.tensor(theirs, dtype=torch.float64)).mean())


def text_perplexity(
    model: LanguageModel, rows: Sequence[Row], what: str = "bits per byte"
) -> tuple[float, float] | None:
    """Bits per UTF-8 byte and perplexity per token of the rows' responses, their ends included; `None` without rows.

    Bits per byte compare any two models; perplexities only those of one tokenizer.
    """
    n_bytes = sum(row.n_bytes for row in rows)
    if not n_bytes:
        return None
    nats = -sum(response_logprobs(model, rows, what=what))
    tokens = sum(row.n_targets for row in rows)
    return bits_per_byte(nats, n_bytes), math.exp(nats / tokens)


def text_bits_per_byte(model: LanguageModel, rows: Sequence[Row], what: str = "bits per byte") -> float | None:
    """The first of `text_perplexity`."""
    found = text_perplexity(model, rows, what)
    return found[0] if found is not None else None
