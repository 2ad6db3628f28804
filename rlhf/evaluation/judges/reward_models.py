"""Reward models as judges of texts: each reads a conversation by its own tokenizer and template.

What a policy drew are its own tokens, and a model with another vocabulary, or another chat template, would read them as
noise without a word. So texts pass between the two. PPO, where scores belong to tokens, shares them, and refuses a
reward model with another tokenizer (`same_tokens`).
"""

from __future__ import annotations

import torch

from rlhf.data.templates.template import Template, template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.errors import DataError, ParentError
from rlhf.evaluation.judges.scorers import RewardJudge
from rlhf.models.files.loading import load_scorer
from rlhf.models.language import freeze
from rlhf.models.process_scorer import as_trained, is_process_model
from rlhf.models.sizes import context_of


def reward_judge(
    key: str,
    source: str,
    max_length: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    combine: str = "min",
) -> RewardJudge:
    """The reward model of a folder, frozen, with the tokenizer in the same folder.

    Args:
        key: where it was given, for messages.
        max_length: tokens of a prompt and an answer, of its own; less where its positions end before.
        combine: how the steps of a process reward model become one score.

    Raises:
        ParentError: it has no tokenizer of its own or not the one that it was trained with, or no trained head.
    """
    try:
        template = template_for(load_tokenizer("auto", source))
    except DataError as error:
        raise ParentError(
            f"{key}: {source} has no tokenizer that can be read ({error}); put the files of the tokenizer that it was "
            "trained with beside its weights"
        ) from error
    try:
        model = load_scorer(source, {}, template.tokenizer, seed=0, new_head=False)
    except ParentError as error:
        raise ParentError(f"{key}: {error}") from error
    model = as_trained(model, template.tokenizer, combine)
    freeze(model)
    context = context_of(model.hf)
    judge = RewardJudge(model.to(device=device, dtype=dtype), template, min(max_length, context or max_length))
    if is_process_model(model):
        judge.unit = "probability that the steps are right"
    return judge


def same_tokens(judge: RewardJudge, template: Template) -> bool:
    """Whether a reward model reads the very tokens that a policy with this template reads and writes."""
    return judge.template.fingerprint == template.fingerprint


def check_scores(key: str, judge: RewardJudge) -> int:
    """How many answers got NaN or infinity instead of a score.

    Raises:
        ParentError: all of them did: nothing that is computed from such scores would mean anything.
    """
    wrong, asked = len(judge.not_finite), judge.asked
    if asked and wrong == asked:
        raise ParentError(
            f"{key}: the reward model gives NaN or infinity to each of {asked} answers; train it again, or pass "
            "strategy.precision=fp32 if its weights are good"
        )
    return wrong
