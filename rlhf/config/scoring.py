"""Where the scores of sampled responses come from, and how they are shaped into rewards."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlhf.config.endpoint import ServerConfig, check_server
from rlhf.config.keys import key
from rlhf.errors import ConfigError, nearest

MODEL, JUDGE = "model", "judge"

COMBINATIONS = ("mean", "median", "min", "variance", "deviation")
"""How scores of an ensemble become one, as in `rlhf/objectives/ensembles.py`."""

SHIPPED: Mapping[str, tuple[str, ...]] = {
    "exact_match": ("answer",),
    "numeric_match": ("answer",),
    "regex_match": (),
    "json_schema": (),
    "length_band": (),
}
"""The lab's own functions, in rlhf/rewards/functions.py, with the fields of a record that each reads."""

OWN = r"(?:[\w.]+|[^:]+\.py):[A-Za-z_]\w*"
"""`package.module:function`, or `folder/file.py:function`."""


@dataclass
class ScoringConfig:
    """Where scores come from, and how they are shaped, for algorithms that learn from samples."""

    sources: list[str] = key(
        lambda: [MODEL],
        "what scores a response, added up by weights: model (what algo.reward_model names), judge (behind "
        "reward.endpoint), exact_match, numeric_match, regex_match, json_schema, length_band, or a function of one's "
        "own, module:function or file.py:function",
    )
    weights: dict[str, float] = key(
        dict, "weights of sources by name, a function's without its module, such as {length_band: 0.2}; else 1"
    )
    arguments: dict[str, Any] = key(
        dict, "keyword arguments of functions, by name, such as {length_band: {low: 10, high: 40}}"
    )
    combine: str = key(
        "mean",
        "scores of an ensemble: mean, median, min (worst case), variance (mean − combine_coef · variance: "
        "uncertainty-weighted), deviation (mean − combine_coef · standard deviation)",
        choices=COMBINATIONS,
        source="Coste et al. 2023",
    )
    combine_coef: float = key(
        0.1, "price of disagreement between the members", ge=0, unit="1/score or 1", source="Coste et al. 2023"
    )
    step_combine: str | None = key(
        None,
        "a process reward model's score: min (the lowest probability of a step), product (that all are right), mean, "
        "last (of the last step alone); null: min",
        choices=("min", "product", "mean", "last"),
        source="Wang et al. 2023; product: Lightman et al. 2023",
    )
    step_rewards: bool = key(
        False,
        "PPO: a process reward model pays where steps end, each step what it changes of the score; the sum is the same",
        source="shaping by a potential: Ng et al. 1999",
    )
    normalise: str = key(
        "none",
        "scores by the statistics of all episodes so far: scale divides by their standard deviation, whiten takes "
        "their mean off before",
        choices=("none", "scale", "whiten"),
        source="Zheng et al. 2023",
    )
    length_penalty: float = key(
        0.0, "taken from the reward for each token above length_target", ge=0, unit="score/token"
    )
    length_target: int = key(0, "tokens of a response that cost nothing", ge=0, unit="tokens")
    repetition_penalty: float = key(
        0.0, "taken from the reward, times the share of a response's n-grams that it has had before", ge=0, unit="score"
    )
    diversity_bonus: float = key(
        0.0,
        "added, times how few n-grams a response shares with the prompt's other samples (0 to 1)",
        ge=0,
        unit="score",
    )
    ngram: int = key(3, "tokens of those n-grams", ge=1, unit="tokens")
    endpoint: ServerConfig = field(default_factory=ServerConfig)

    @property
    def uses_model(self) -> bool:
        """Whether a learned reward model takes part; where none does, none is looked for or loaded."""
        return MODEL in self.sources


def source_name(source: str) -> str:
    """What a source is called in weights, arguments and metrics: a function's name without its module."""
    return source.rsplit(":", 1)[-1]


def reward_models(given: Any) -> list[str]:
    """What `algo.reward_model` names, one or several.

    Raises:
        ConfigError: it is neither a text nor a list of different texts.
    """
    members = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else []
    if not members or not all(isinstance(member, str) and member for member in members):
        raise ConfigError(
            f"algo.reward_model: {given!r} is not auto, a run directory or a model folder, nor a list of those"[:300]
        )
    if len(set(members)) < len(members):
        raise ConfigError("algo.reward_model: a member is listed twice, and would agree with itself")
    if len(members) > 1 and "auto" in members:
        raise ConfigError("algo.reward_model: auto finds a single reward model; name each member of the list")
    return members


def check_scoring(
    scoring: ScoringConfig, reward_model: Any, samples_per_prompt: int, fields: Sequence[str], algo: str
) -> None:
    """Rules between the keys of this section and of others.

    Args:
        reward_model: `algo.reward_model`.
        fields: names of `data.fields`.

    Raises:
        ConfigError: the first thing that is wrong, in one sentence.
    """
    names = _sources(scoring)
    members = reward_models(reward_model)
    if not scoring.uses_model and members != ["auto"]:
        raise ConfigError(
            f"algo.reward_model: {', '.join(members)} would not be used with reward.sources={scoring.sources}; "
            "add model to the sources, or leave it out"
        )
    if scoring.combine != "mean" and len(members) == 1:
        raise ConfigError(
            f"reward.combine: {scoring.combine} would do nothing with a single reward model; pass "
            "'algo.reward_model=[RUN,RUN]'"
        )
    _steps(scoring, members)
    for name, weight in scoring.weights.items():
        if name not in names:
            raise ConfigError(
                f"reward.weights: {name} is not among reward.sources ({', '.join(names)}){nearest(name, names)}"
            )
        if not math.isfinite(weight):
            raise ConfigError(f"reward.weights.{name}: {weight} is not a finite number")
    functions = [name for name in names if name not in (MODEL, JUDGE)]
    for name, arguments in scoring.arguments.items():
        if name not in functions:
            raise ConfigError(
                f"reward.arguments: {name} is not a function among reward.sources ({', '.join(functions) or 'none'})"
                f"{nearest(name, functions)}"
            )
        if not isinstance(arguments, dict):
            raise ConfigError(f"reward.arguments.{name}: {arguments!r} is not a mapping of names to values"[:300])
    for name in functions:
        for needed in SHIPPED.get(name, ()) if name in scoring.sources else ():
            if needed not in fields:
                raise ConfigError(
                    f"data.fields: reward.sources={name} reads a record's {needed}, and no field is passed on as "
                    f"{needed}; pass 'data.fields={{{needed}: NAME_IN_THE_FILE}}'"
                )
    if scoring.diversity_bonus and samples_per_prompt == 1:
        raise ConfigError(
            f"reward.diversity_bonus: {scoring.diversity_bonus:g} compares samples of one prompt, and algo={algo} "
            "draws one; pass algo.samples_per_prompt=4, for instance"
        )
    asked = JUDGE in scoring.sources
    check_server("reward.endpoint", scoring.endpoint, f"reward.sources={JUDGE}" if asked else None)
    if scoring.endpoint.url is not None and not asked:
        raise ConfigError(
            f"reward.endpoint.url: {scoring.endpoint.url} would not be asked; add judge to reward.sources, or leave it "
            "out"
        )


def _steps(scoring: ScoringConfig, members: Sequence[str]) -> None:
    """What a process reward model is asked for, as far as the configuration alone tells."""
    given = f"step_combine: {scoring.step_combine}" if scoring.step_combine is not None else "step_rewards: true"
    if (scoring.step_combine is not None or scoring.step_rewards) and not scoring.uses_model:
        raise ConfigError(
            f"reward.{given} would do nothing without a process reward model; add model to reward.sources, or leave it "
            "out"
        )
    if scoring.step_rewards and len(members) > 1:
        raise ConfigError(
            "reward.step_rewards: true takes a single process reward model, and algo.reward_model is a list"
        )
    if scoring.step_rewards and scoring.normalise != "none":
        raise ConfigError(
            "reward.step_rewards: true pays what steps change of the score, which "
            f"reward.normalise={scoring.normalise} would put into another unit; it must be none"
        )


def _sources(scoring: ScoringConfig) -> list[str]:
    """Names of the sources, all different."""
    known = (MODEL, JUDGE, *SHIPPED)
    for source in scoring.sources:
        if source not in known and not re.fullmatch(OWN, source):
            raise ConfigError(
                f"reward.sources: {source!r} is not one of {', '.join(known)}, nor module:function"
                f"{nearest(source, known)}"
            )
    names = [source_name(source) for source in scoring.sources]
    if not names:
        raise ConfigError("reward.sources: empty, so that nothing would score; name at least one")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"reward.sources: two sources are called {twice[0]}; give their functions different names")
    return names
