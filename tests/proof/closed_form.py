"""A world small enough to enumerate: where PPO and DPO must end is known in closed form.

Responses are at most three tokens of a vocabulary of four, one of them end-of-text, so that there are 40 outcomes a
prompt, strings cut at three tokens among them. The optimum of E[r] − β·KL(π ‖ π_ref) is
π*(y|x) ∝ π_ref(y|x)·exp(r(x, y)/β), with r including every shaping (Rafailov et al. 2023, eq. 4).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from lightning_modules.data import StageData
from lightning_modules.preference.sequence_logprobs import response_logprobs
from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel, ScoreModel

EOS, VOCABULARY, LONGEST = 0, 4, 3
PROMPTS = ((1, 2), (3, 1, 1))
PENALTY = 0.5
OUTCOMES = [
    response
    for length in range(1, LONGEST + 1)
    for response in itertools.product(range(VOCABULARY), repeat=length)
    if EOS not in response[:-1] and (response[-1] == EOS or length == LONGEST)
]


@dataclass
class World:
    """The reference policy, a reward for each (prompt, outcome), and the optimum that belongs to β."""

    reference: LanguageModel
    scores: Tensor  # [prompts, outcomes], before the penalty for a missing end-of-text
    beta: float
    temperature: float = 1.0

    @property
    def rows(self) -> list[Row]:
        return [Row(prompt, tuple(OUTCOMES), index=i) for i, prompt in enumerate(PROMPTS)]

    @torch.no_grad()
    def distribution(self, policy: LanguageModel) -> Tensor:
        """π(y|x) for all prompts and outcomes, [prompts, outcomes]; each row sums to 1."""
        rows = []
        for row in self.rows:
            batch = collate([row])
            stats: Any = policy(batch, temperature=self.temperature)
            rows.append(torch.zeros(batch.n_responses).index_add(0, batch.target_response, stats.logprobs))
        return torch.stack(rows).exp()

    def shaped(self) -> Tensor:
        unfinished = torch.tensor([response[-1] != EOS for response in OUTCOMES])
        return self.scores - PENALTY * unfinished

    def optimum(self, scores: Tensor | None = None) -> Tensor:
        logits = self.distribution(self.reference).log() + (self.shaped() if scores is None else scores) / self.beta
        return logits.softmax(-1)

    def total_variation(self, policy: LanguageModel, optimum: Tensor | None = None) -> float:
        """½·Σ_y |π − π*|, the worst prompt's."""
        target = self.optimum() if optimum is None else optimum
        return float((0.5 * (self.distribution(policy) - target).abs().sum(-1)).max())

    def reward(self, batch: Batch) -> Tensor:
        """Looks up r(x, y) of every response in a batch, [R]."""
        number = {response: i for i, response in enumerate(OUTCOMES)}
        prompts = {prompt: i for i, prompt in enumerate(PROMPTS)}
        found = []
        real = batch.segments >= 0  # without padding, rows follow each other whether they are side by side or not
        flat = batch.tokens[real].split(batch.lengths), batch.segments[real].split(batch.lengths)
        for tokens, segments in ((t.tolist(), s.tolist()) for t, s in zip(*flat, strict=True)):
            prompt = tuple(t for t, s in zip(tokens, segments, strict=True) if s == 0)
            for k in range(1, max(segments) + 1):
                response = tuple(t for t, s in zip(tokens, segments, strict=True) if s == k)
                found.append(self.scores[prompts[prompt], number[response]])
        return torch.stack(found)


def gpt2(seed: int) -> GPT2Config:
    torch.manual_seed(seed)
    return GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=16,
        n_embd=32,
        n_layer=1,
        n_head=2,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        num_labels=1,
        bos_token_id=EOS,
        eos_token_id=EOS,
        pad_token_id=None,
    )


def new_policy(seed: int = 0, value_head: bool = False) -> LanguageModel:
    """The reference's weights: drawn wider than usual, so that the reference is far from uniform."""
    model = GPT2LMHeadModel(gpt2(seed))
    with torch.no_grad():
        model.transformer.wte.weight.normal_(std=0.02, generator=torch.Generator().manual_seed(seed))
    return LanguageModel(model, value_head=value_head)


def new_critic(seed: int = 1) -> ScoreModel:
    return ScoreModel(GPT2ForSequenceClassification(gpt2(seed)))


def make_world(beta: float = 0.5, seed: int = 0, temperature: float = 1.0) -> World:
    draw = torch.Generator().manual_seed(seed)
    # Mostly a sum over tokens: were each outcome's score drawn by itself, a good outcome behind a bad beginning would
    # be sampled too rarely to be found again, which says something of policy gradients, and nothing of this code.
    by_token = torch.randn(len(PROMPTS), LONGEST, VOCABULARY, generator=draw)
    alone = 0.3 * torch.randn(len(PROMPTS), len(OUTCOMES), generator=draw)
    sums = [[sum(x[t, token] for t, token in enumerate(outcome)) for outcome in OUTCOMES] for x in by_token]
    # The constant is no matter to the optimum, but to a discount that favours short responses it is.
    scores = 4 + alone + 0.7 * torch.tensor(sums)
    return World(new_policy(seed).eval().requires_grad_(False), scores, beta, temperature)


def fit(module: L.LightningModule, data: StageData, precision: Any = "32-true") -> None:
    """The real Trainer, silently."""
    trainer = L.Trainer(
        precision=precision,
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        inference_mode=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    trainer.fit(module, datamodule=data)


__all__ = ["EOS", "OUTCOMES", "PROMPTS", "World", "fit", "make_world", "new_critic", "new_policy", "response_logprobs"]
