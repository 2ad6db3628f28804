"""Refusals of a collection: who can rank what, and by which rules."""

from __future__ import annotations

from rlhf.config.endpoint import check_server
from rlhf.config.paths import check_exists
from rlhf.config.sections import DataConfig
from rlhf.config.verbs.schemas import CollectSettings
from rlhf.errors import ConfigError


def check_collection(collect: CollectSettings, data: DataConfig) -> None:
    """Raises:
    ConfigError: the first thing that is wrong.
    """
    if collect.annotator == "gold" and data.source != "assistant":
        raise ConfigError(
            f"collect.annotator: gold judges the embedded task only, and this is data={data.name}; "
            "pass collect.annotator=reward collect.reward_model=RUN, or collect.annotator=endpoint"
        )
    if not collect.temperatures or not collect.top_k:
        raise ConfigError("collect.temperatures, collect.top_k: each needs at least one value")
    asked = collect.annotator == "endpoint"
    check_server("collect.endpoint", collect.endpoint, "collect.annotator=endpoint" if asked else None)
    if collect.endpoint.url is not None and not asked:
        raise ConfigError(
            f"collect.endpoint.url: {collect.endpoint.url} would not be asked; pass collect.annotator=endpoint, or "
            "leave it out"
        )
    if collect.rubric is not None:
        _rubric(collect, asked)


def _rubric(collect: CollectSettings, asked: bool) -> None:
    assert collect.rubric is not None
    if not asked:
        raise ConfigError(
            f"collect.rubric: {collect.rubric} would be read by nobody; pass collect.annotator=endpoint, or leave it "
            "out"
        )
    if collect.endpoint.mode != "pairs":
        raise ConfigError(
            f"collect.rubric: answers are compared by it, and collect.endpoint.mode={collect.endpoint.mode} compares "
            "none; pass collect.endpoint.mode=pairs, or your own score.txt in collect.endpoint.prompts=FOLDER"
        )
    if collect.endpoint.prompts is not None:
        raise ConfigError(
            "collect.rubric: stands beside collect.endpoint.prompts, whose compare.txt has rules of its own; leave one "
            "of them out"
        )
    check_exists("collect.rubric", collect.rubric)
