"""Rows of a few steps of a run that is planned: read where that is cheap, else as long as the configuration says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rlhf.config import OnPolicyConfig, PlanConfig
from rlhf.data.rows import Row
from rlhf.data.stream import OptimisationBatches
from rlhf.data.templates.template import template_for
from rlhf.errors import ConfigError, DataError
from rlhf.runs import Parent
from verbs.train.build import build_tokenizer, prompt_limit, read_rows, total_steps

LOOKED_AT = 8
"""Steps whose rows are looked at."""
CHEAP = 50_000_000
"""Bytes of a file that is still read: seconds."""
TOKEN = 0
"""Lengths are all that matters."""


@dataclass(frozen=True)
class Planned:
    """What is known of a run's rows.

    Attributes:
        steps: rows of each step that is looked at, on all devices together; PPO's rows have their responses.
        total: steps of the run; `None` where the data would have to be read to know it.
        source: where the lengths come from, in a few words.
    """

    steps: list[list[Row]]
    total: int | None
    source: str


def planned_rows(config: PlanConfig) -> Planned:
    """Rows of the first steps.

    Raises:
        ConfigError: the lengths that are given don't fit into `data.max_length`.
        DataError: the file can be read, but what it holds can't be used.
    """
    asked = config.plan.prompt_tokens, config.plan.response_tokens
    _fits(config, "response_tokens", config.plan.response_tokens or 0, longest_response(config))
    if asked[0] is None and (asked[1] is None or config.algo.on_policy) and is_cheap(config):
        found = _read(config)
        if found is not None:
            return found
    return _assumed(config)


def is_cheap(config: PlanConfig) -> bool:
    """Whether reading the data takes seconds: the embedded task, or a small file of this machine."""
    data = config.data
    if data.is_embedded:
        return True
    paths = [Path(path) for path in data.paths]
    if not data.is_local or not all(path.exists() for path in paths):
        return False
    files = [path for path in paths if path.is_file()]
    files += [Path(folder) / f for path in paths if path.is_dir() for folder, _, fs in os.walk(path) for f in fs]
    return sum(file.stat().st_size for file in files) <= CHEAP


def _read(config: PlanConfig) -> Planned | None:
    """From the data; `None` where the tokenizer is not on this machine."""
    try:
        tokenizer = build_tokenizer(config, Parent("random"))
    except DataError:
        return None
    rows = read_rows(config, template_for(tokenizer), config.algo.learns_from).train
    steps = total_steps(config, len(rows))
    batches = OptimisationBatches(len(rows), config.algo.rows_a_step(config.train.batch_size), config.seed)
    chosen = [[rows[i] for i in batches.batch(step)] for step in range(min(steps, LOOKED_AT))]
    return Planned(
        [_answered(config, step) for step in chosen], steps, f"data={config.data.name}, {len(rows)} examples"
    )


def _answered(config: PlanConfig, rows: Sequence[Row]) -> list[Row]:
    """PPO's prompts with the responses that are drawn for them."""
    if not isinstance(config.algo, OnPolicyConfig):
        return list(rows)
    response = (TOKEN,) * (config.plan.response_tokens or config.rollout.max_new_tokens)
    n = config.algo.samples_per_prompt
    # An iteration that may sample further prompts is planned as one that doesn't need them.
    return [replace(row, responses=(response,) * n) for row in rows[: config.train.batch_size // n]]


def _assumed(config: PlanConfig) -> Planned:
    """All rows are equal."""
    prompt, response = assumed_lengths(config)
    n = 2 if config.algo.learns_from == "comparisons" else 1
    pairs = ((0, 1),) if n == 2 else ()
    row = Row((TOKEN,) * prompt, ((TOKEN,) * response,) * n, pairs)
    if config.algo.learns_from == "steps":  # how many there are makes no difference worth planning for
        row = replace(row, step_ends=((response - 1,),), step_labels=((1.0,),))
    rows = [row] * config.algo.rows_a_step(config.train.batch_size)
    given = config.plan.prompt_tokens or config.plan.response_tokens
    source = "plan.prompt_tokens, plan.response_tokens" if given else f"data.max_length={config.data.max_length}"
    return Planned([_answered(config, rows)], config.train.max_steps, f"{source}: {prompt} + {response} tokens")


def document(length: int) -> Row:
    """A block of text, all of which is predicted but its first token."""
    return Row((TOKEN,), ((TOKEN,) * (length - 1),))


def assumed_lengths(config: PlanConfig) -> tuple[int, int]:
    """Tokens of prompt and response; what is not given fills `data.max_length`.

    Raises:
        ConfigError: they don't fit.
    """
    longest, plan = config.data.max_length, config.plan
    if config.algo.learns_from == "documents":
        return 1, longest - 1
    usual = config.rollout.max_new_tokens if config.algo.on_policy else longest // 2
    response = plan.response_tokens or min(usual, config.rollout.max_new_tokens, longest - 1)
    limit = prompt_limit(config) if config.algo.on_policy else longest - response
    prompt = plan.prompt_tokens or limit
    _fits(config, "response_tokens", response, longest_response(config))
    _fits(config, "prompt_tokens", prompt, limit)
    return prompt, response


def longest_response(config: PlanConfig) -> int:
    """Tokens that a response may have."""
    return config.rollout.max_new_tokens if config.algo.on_policy else config.data.max_length - 1


def _fits(config: PlanConfig, name: str, value: int, most: int) -> None:
    if value > most:
        raise ConfigError(
            f"plan.{name}: {value} does not fit; data.max_length={config.data.max_length} and rollout.max_new_tokens="
            f"{config.rollout.max_new_tokens} leave {most} tokens"
        )
