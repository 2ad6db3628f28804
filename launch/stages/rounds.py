"""Rounds: stages that are done several times, written out as stages of their own: `round1/reward`, `round2/reward`.

In the stages of a pipeline `{round}` is the round's number from 1 and `{seed}` a seed of its own: the pipeline's
`seed`, plus the number, minus 1. A parent is named from where a stage stands:

    STAGE             of the same round; a stage in front of the rounds
    previous/STAGE    of the round before; in the first round there is none, and the key is left out
    A | B             A where there is one, else B
    all/STAGE         of all rounds so far, as a list
    last/STAGE        after the rounds: of the last one

After the rounds, a parent with `{round}` in its key is repeated for each round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

from rlhf.config import PipelineConfig, StageConfig
from rlhf.errors import ConfigError

ROUND, SEED = "{round}", "{seed}"


def name_in_round(number: int, name: str) -> str:
    """What a stage is called in a round."""
    return f"round{number}/{name}"


def template_of(name: str) -> str:
    """The name under which a stage stands in the configuration."""
    return re.sub(r"^round\d+/", "", name)


def round_of(name: str) -> int | None:
    """The number of a stage's round; `None` outside of the rounds."""
    found = re.match(r"round(\d+)/", name)
    return int(found[1]) if found else None


def listed(parents: Any) -> list[str]:
    """The stages that a key takes, one or several."""
    return list(parents) if isinstance(parents, list) else [parents]


def written_out(config: PipelineConfig, rounds: int | None = None) -> dict[str, StageConfig]:
    """All stages in the order in which they run.

    Args:
        rounds: `None`: as many as are configured.

    Raises:
        ConfigError: there are rounds and nothing to do in them, or their stages don't stand together.
    """
    rounds = config.rounds if rounds is None else rounds
    blocks = [(each, [name for name, _ in block]) for each, block in groupby(config.stages.items(), _is_in_rounds)]
    mine = [names for each, names in blocks if each]
    if not mine and config.rounds > 1:
        raise ConfigError(
            f"rounds: {config.rounds}, and this pipeline has no stage that is done in each round (each_round: true); "
            "choose pipeline=rounds, or leave it out"
        )
    if len(mine) > 1:
        raise ConfigError(
            f"stages.{mine[1][0]}.each_round: true, and stages stand between it and {mine[0][-1]}; the stages of the "
            "rounds must follow each other"
        )
    for name, stage in config.stages.items():
        _check(name, stage)
    found: dict[str, StageConfig] = {}
    inside, numbers = set(mine[0] if mine else ()), range(1, rounds + 1)
    for each, names in blocks:
        if not each:
            found |= {name: _outside(config.stages[name], rounds) for name in names}
            continue
        for number in numbers:
            for name in names:
                found[name_in_round(number, name)] = _inside(config, config.stages[name], number, inside)
    return found


def _is_in_rounds(item: tuple[str, StageConfig]) -> bool:
    return item[1].each_round


def _check(name: str, stage: StageConfig) -> None:
    if "/" in name:
        raise ConfigError(f"stages.{name}: a stage's name can't hold a /, which separates it from its round")
    for metric, bounds in stage.gates.items():
        if isinstance(bounds, dict) and bounds.get("end_rounds") and not stage.each_round:
            raise ConfigError(f"stages.{name}.gates.{metric}: end_rounds is for stages with each_round: true")
    if stage.each_round and stage.run is not None:
        raise ConfigError(f"stages.{name}.run: a stage of the rounds has several results, and one run can't be all")


def _inside(config: PipelineConfig, stage: StageConfig, number: int, inside: set[str]) -> StageConfig:
    """A stage of a round, with the names that its parents have."""

    def parent_of(reference: str) -> str | list[str] | None:
        kind, _, name = reference.rpartition("/")
        if kind == "previous":
            return name_in_round(number - 1, name) if number > 1 else None
        if kind == "all":
            return [name_in_round(earlier, name) for earlier in range(1, number + 1)]
        return name_in_round(number, name) if name in inside and not kind else reference

    def numbered(text: Any) -> Any:
        seed = (config.seed + number - 1) % 2**32
        return text.replace(ROUND, str(number)).replace(SEED, str(seed)) if isinstance(text, str) else text

    return replace(
        stage,
        overrides=[numbered(item) for item in stage.overrides],
        parents=dict(_resolved({numbered(k): numbered(v) for k, v in stage.parents.items()}, parent_of)),
        each_round=False,
    )


def _outside(stage: StageConfig, rounds: int) -> StageConfig:
    """A stage in front of the rounds, or after them."""

    def parent_of(reference: str) -> str | list[str] | None:
        kind, _, name = reference.rpartition("/")
        if kind == "last":
            return name_in_round(rounds, name) if rounds else None
        if kind == "all":
            return [name_in_round(number, name) for number in range(1, rounds + 1)]
        return reference

    repeated: dict[str, Any] = {}
    for key, reference in stage.parents.items():
        if ROUND not in key:
            repeated[key] = reference
            continue
        for number in range(1, rounds + 1):
            repeated[key.replace(ROUND, str(number))] = reference.replace(ROUND, str(number))
    return replace(stage, parents=dict(_resolved(repeated, parent_of)))


def _resolved(parents: Mapping[str, Any], parent_of: Any) -> Iterator[tuple[str, Any]]:
    """Each key with its parent; without the keys that have none."""
    for key, reference in parents.items():
        if not isinstance(reference, str):
            yield key, reference
            continue
        found = (parent_of(choice.strip()) for choice in reference.split("|"))
        if (parent := next((choice for choice in found if choice is not None), None)) is not None:
            yield key, parent
