"""What fine-tuning costs of base ability: bits per byte on held-out text, after and before."""

from __future__ import annotations

from rlhf.config import TrainConfig
from rlhf.data.rows import make_rows
from rlhf.data.templates.template import Template
from rlhf.evaluation.answers import text_bits_per_byte
from rlhf.models.files.loading import load_policy
from rlhf.models.language import LanguageModel, freeze
from rlhf.runs import Parent
from verbs.unseen import held_out

TEXTS = 200
"""Held-out documents that are read; enough for the second digit."""


def forgetting(config: TrainConfig, policy: LanguageModel, parent: Parent, template: Template) -> dict[str, float]:
    """Bits per byte of `parent` (`forgetting_from`), and how many more the policy needs (`forgetting`).

    Empty where the data hold no plain text, or the start was random.
    """
    if config.data.source != "assistant" or parent.source is None:
        return {}
    held = held_out(config.data, prompts=1, texts=TEXTS)
    rows, _ = make_rows(held.texts, held.text_kind, template, config.data.max_length, config.data.on_error)
    before = load_policy(parent.source, {}, template.tokenizer, seed=0).to(next(policy.parameters()).device)
    freeze(before)
    then, now = (text_bits_per_byte(model, rows, "forgetting") for model in (before, policy))
    return {"forgetting": now - then, "forgetting_from": then} if now is not None and then is not None else {}
