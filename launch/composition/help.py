"""`--help`: what the verb does, what can be chosen, and the configuration that these overrides make, with comments."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import yaml

from rlhf.config import Config, KeyInfo

COLUMN = 40
"""Where comments start, if the value before them is short enough."""


def page(script: str, doc: str, options: dict[str, list[str]], config: Config) -> str:
    """The whole page."""
    # A model is chosen by name where one is made; elsewhere by the run that holds it.
    present = {field.name for field in dataclasses.fields(config)}
    if not hasattr(config, "callbacks"):
        present.discard("model")
    present |= {"experiment", "recipe"} if "algo" in present else {"pipeline"} if "stages" in present else set()
    sweeps = hasattr(config, "resume")
    groups = [f"  {group:<11}{' '.join(names)}" for group, names in options.items() if group in present]
    return "\n".join(
        [
            f"{doc.strip()}",
            "",
            f"usage: {script} [GROUP=OPTION …] [KEY=VALUE …]",
            *([f"       {script} -m KEY=VALUE,VALUE …     one run for each combination"] if sweeps else []),
            f"       {script} --cfg job | --hydra-help",
            "",
            "Groups and their options:",
            *groups,
            "",
            "Keys, as these overrides set them:",
            "",
            *commented(config),
            "",
        ]
    )


def commented(config: Any, indent: str = "") -> Iterator[str]:
    """Lines of YAML; every key with its meaning, range and source."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            summary = " ".join((value.__doc__ or "").split("\n\n")[0].split())
            yield f"{indent}{field.name}:  # {summary}"
            yield from commented(value, f"{indent}  ")
            continue
        info: KeyInfo = field.metadata["key"]
        if isinstance(value, dict) and any(map(dataclasses.is_dataclass, value.values())):
            yield f"{indent}{field.name}:".ljust(COLUMN) + f"  # {info.help}"
            for name, item in value.items():
                yield f"{indent}  {name}: {inline(_set(item))}"
            continue
        # A source vouches for the default, not for what was put in its place.
        source = f" ({info.source})" if info.source and value == field.default else ""
        domain = f" [{info.domain}]" if info.domain else ""
        yield f"{indent}{field.name}: {inline(value)}".ljust(COLUMN) + f"  # {info.help}{domain}{source}"


def _set(item: Any) -> dict[str, Any]:
    """What differs from the defaults."""
    return {
        f.name: v for f in dataclasses.fields(item) if (v := getattr(item, f.name)) != type(item)().__dict__[f.name]
    }


def inline(value: Any) -> str:
    """A value on one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()
