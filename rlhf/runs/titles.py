"""Titles that people recognise: what was trained, on what, with which settings. Ids and paths come after them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlhf.runs.summary import Summary

SILENT = {
    "resume",
    "logger",
    "callbacks",
    "strategy",
    "seed",
    "data.name",
    "model.name",
    "algo.name",
    "rollout.max_rows",
    *(f"train.{name}_every" for name in ("log", "val", "checkpoint")),
    *(f"train.{name}" for name in ("samples", "keep_checkpoints", "val_batches", "val_prompts", "objective")),
}
"""Keys, or sections, that set apart no two lines of a comparison; `seed` is what is averaged over."""
UNTITLED = {"algo", "model", "data", "model.init", "algo.reward_model"}
"""Keys that a title does not repeat: its first words say them, or they name other runs."""
NO_SETTINGS = (SILENT - {"seed"}) | {"hydra", "models"}
"""Keys, or sections, that were typed and change nothing that a title is about. A seed that was typed is shown."""
RUN_NAME = re.compile(r".*-([0-9a-f]{8})")
"""Of a run's directory, see `conf/directories.yaml`."""
MAX_PARTS = 4
"""Settings that a label or a title can name and still be read."""
MAX_VALUES = 5
"""Values of one key that a title lists; of more it gives the first and the last."""
AMBIGUOUS = ("seed", "path", "name")
"""Last parts of keys that say too little alone."""
DOT = " · "


def run_title(summary: Summary) -> str:
    """The title of one run, such as `ppo · tiny on assistant · kl_coef=0.1`: the settings are those that were typed."""
    return DOT.join(filter(None, [summary.algo, subject([summary.model], [summary.data]), *_typed(summary.overrides)]))


def comparison_title(summaries: Sequence[Summary], varied: Mapping[str, Sequence[Any]]) -> str:
    """The title of several runs, such as `ppo · tiny on assistant · kl_coef=0.1, 0.2 · seed=1, 2`.

    Args:
        varied: by dotted key the values in which the runs differ; seeds come from the summaries.
    """
    differ = {key: values for key, values in varied.items() if key not in ("seed", *UNTITLED)}
    seeds = sorted({summary.seed for summary in summaries})
    parts = [f"{brief(key)}={_listed(list(map(shown, values)))}" for key, values in differ.items()]
    parts = _first(parts) + ([f"seed={_listed(list(map(str, seeds)))}"] if len(seeds) > 1 else [])
    named = subject([s.model for s in summaries], [s.data for s in summaries])
    return DOT.join(filter(None, [_listed(_unique(s.algo for s in summaries)), named, *parts]))


def versus_title(names: Iterable[str], models: Iterable[str], data: str) -> str:
    """The title of an evaluation, such as `sft vs ppo · tiny on assistant`.

    Args:
        names: what the compared models are called. models: what they are; more than one only where they differ.
    """
    every = list(names)
    more = [f"{len(every) - 2 * MAX_PARTS} more"] if len(every) > 2 * MAX_PARTS else []
    return DOT.join(filter(None, [" vs ".join(every[: 2 * MAX_PARTS] + more), subject(models, [data])]))


def subject(models: Iterable[str], data: Iterable[str]) -> str:
    """`tiny on assistant`, or what is known of it."""
    return " on ".join(filter(None, (_listed(_unique(models)), _listed(_unique(data)))))


def brief(name: str) -> str:
    """The last part of a dotted key, or all of it where that is ambiguous."""
    last = name.rsplit(".", 1)[-1]
    return name if last in AMBIGUOUS else last


def shown(value: Any) -> str:
    """A setting's value, short; of a path its last part, of a run's directory its id."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "null"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ",".join(shown(item) for item in value)
    text = str(value)
    if "/" not in text:
        return text
    last = text.rstrip("/").rsplit("/", 1)[-1]
    return match[1] if (match := RUN_NAME.fullmatch(last)) else last


def _typed(overrides: Sequence[str]) -> list[str]:
    """`kl_coef=0.1` for each override that may change a result; of a key that was typed twice the last one holds."""
    typed = dict(item.lstrip("+").split("=", 1) for item in overrides if "=" in item)
    told = [key for key in typed if key not in UNTITLED and not {key, key.split(".")[0]} & NO_SETTINGS]
    return _first([f"{brief(key)}={shown(typed[key])}" for key in told])


def _first(parts: list[str]) -> list[str]:
    """As many as can be read, and how many more there are."""
    return parts[:MAX_PARTS] + ([f"{len(parts) - MAX_PARTS} more"] if len(parts) > MAX_PARTS else [])


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values) if len(values) <= MAX_VALUES else f"{values[0]} … {values[-1]} ({len(values)})"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))
