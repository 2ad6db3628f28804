"""A finished model, ready to be asked: weights, tokenizer, template, and the lengths that it was trained with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rlhf.config import StrategyConfig
from rlhf.data.cuts import warning
from rlhf.data.records import Prompt
from rlhf.data.rows import Row, make_rows
from rlhf.data.templates.template import Template, template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.data.unknown import check_unknown
from rlhf.evaluation.judges.reward_models import reward_judge
from rlhf.evaluation.judges.scorers import RewardJudge
from rlhf.models.files.loading import load_policy
from rlhf.models.language import LanguageModel, freeze
from rlhf.models.sizes import context_of
from rlhf.quiet import quiet_libraries
from rlhf.rollout.engines import build_sampler
from rlhf.rollout.sampling import Sampler
from rlhf.runs import Parent, Summary
from rlhf.runs.listing import read_config
from verbs.train.trainer import accelerator_of

log = logging.getLogger("rlhf")

DEFAULT_LENGTH, DEFAULT_NEW_TOKENS = 512, 128


@dataclass(frozen=True)
class Loaded:
    """Attributes:
    policy: in evaluation mode, without gradients, where and as precise as `strategy` says.
    max_length: tokens of prompt and response together; max_new_tokens: of the response.
    """

    policy: LanguageModel
    template: Template
    max_length: int
    max_new_tokens: int

    def rows(self, prompts: Sequence[Prompt], on_error: str = "stop") -> list[Row]:
        """Rows without responses, cut so that an answer fits behind; those that can't be cut so far are left out
        (`Row.index` tells which are there). Cuts, and characters that the tokenizer lacks, are said."""
        limit = self.max_length - self.max_new_tokens
        rows, counts = make_rows(prompts, "prompts", self.template, limit, on_error)
        cut = warning(counts, limit, self.max_new_tokens, "prompts")
        for said in (cut, check_unknown(prompts, rows, self.template.tokenizer, of="prompts")):
            if said is not None:
                log.warning("%s", said)
        return rows

    def sampler(self, engine: str, max_rows: int) -> Sampler:
        """`rollout.engine` on the policy."""
        return build_sampler(engine, self.policy, self.template.stop_ids, self.max_length, max_rows)


@dataclass(frozen=True)
class Lengths:
    """Tokens of prompt and response together, and of a response alone; `None`: not known."""

    total: int | None = None
    response: int | None = None


def lengths_of(parent: Parent) -> Lengths:
    """The lengths that a run was trained with, and a merge those of what it was made of; a folder has none."""
    run = read_config(parent.dir) if parent.kind == "run" and parent.dir is not None else {}
    if parent.dir is not None and "data" not in run and "merge" in run:
        made_of = (Parent.from_record(record) for record in Summary.read(parent.dir).parents.values())
        return next((found for one in made_of if (found := lengths_of(one)) != Lengths()), Lengths())
    return Lengths(run.get("data", {}).get("max_length"), run.get("rollout", {}).get("max_new_tokens"))


def lengths_beside(parents: Sequence[Parent]) -> list[Lengths]:
    """Lengths of each parent; unknown ones take the longest known value."""
    known = [lengths_of(parent) for parent in parents]
    total = max((mine.total for mine in known if mine.total is not None), default=None)
    response = max((mine.response for mine in known if mine.response is not None), default=None)
    return [Lengths(mine.total or total, mine.response or response) for mine in known]


def load_model(
    parent: Parent, strategy: StrategyConfig, max_new_tokens: int | None = None, lengths: Lengths | None = None
) -> Loaded:
    """The causal language model of a run directory, a model folder or the hub.

    Args:
        max_new_tokens: longest response; `None`: that of `lengths`, else 128.
        lengths: `None`: as the run was trained.

    Raises:
        ParentError: it can't be loaded.
        ConfigError: no such device, or `max_new_tokens` fills the whole context.
    """
    quiet_libraries()
    source = parent.source
    assert source is not None
    tokenizer = load_tokenizer("auto", source)
    policy = load_policy(source, {}, tokenizer, seed=0)
    lengths = lengths or lengths_of(parent)
    trained = lengths.total or DEFAULT_LENGTH
    max_length = min(trained, context_of(policy.hf) or trained)
    new_tokens = max_new_tokens or lengths.response or DEFAULT_NEW_TOKENS
    new_tokens = min(new_tokens, max_length - max(1, max_length // 4))
    freeze(policy)
    policy.to(device=device_of(strategy), dtype=dtype_of(strategy))
    return Loaded(policy, template_for(tokenizer), max_length, new_tokens)


def device_of(strategy: StrategyConfig) -> torch.device:
    """The device on which a single process computes."""
    return torch.device("cuda" if accelerator_of(strategy)[0] == "gpu" else "cpu")


def dtype_of(strategy: StrategyConfig) -> torch.dtype:
    """The type of the weights of models that only answer: without an optimiser nothing needs fp32 masters."""
    return torch.float32 if strategy.precision == "fp32" else torch.bfloat16


def load_reward_judge(
    key: str, parent: Parent, strategy: StrategyConfig, reads: int | None = None, combine: str = "min"
) -> RewardJudge:
    """The reward model that `key` names, with its own tokenizer and template; its head must be trained.

    Args:
        reads: longest prompt and answer, tokens; `None`: as the reward model was trained.
        combine: how the steps of a process reward model become one score.

    Raises:
        ParentError: it can't be loaded, or has no tokenizer of its own.
    """
    assert parent.source is not None
    max_length = reads or lengths_of(parent).total or DEFAULT_LENGTH
    return reward_judge(key, parent.source, max_length, device_of(strategy), dtype_of(strategy), combine)
