"""Which experiment a run is: eight hex digits that are equal when, and only when, the same numbers should come out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rlhf.config.scoring import ScoringConfig
from rlhf.config.verbs.schemas import AnnotatorConfig

IGNORED = ("resume", "logger", "callbacks", "strategy")
"""Sections that decide where and how a run computes and what it logs, not what it computes."""

IGNORED_KEYS = (
    "train.objective",
    "train.keep_every",
    "train.keep_best",
    "train.async_checkpoint",
    "train.max_bad_steps",
    "data.max_unknown",
    "collect.answered",
)
"""The same for single keys."""


ADDED: dict[str, Any] = {
    "algo.bco_shift": "running",
    "algo.beta_end": None,
    "algo.beta_schedule": "constant",
    "algo.center_coef": 0.0,
    "algo.discopop_tau": 0.05,
    "algo.divergence": "reverse_kl",
    "algo.ema_decay": None,
    "algo.kl_guard": "off",
    "algo.label_smoothing": None,
    "algo.ld_alpha": None,
    "algo.loss": "bradley_terry",
    "algo.loss_weights": [],
    "algo.margin_coef": 0.0,
    "algo.reference_model": None,
    "algo.reference_sync_steps": None,
    "algo.weighting": "none",
    "collect.answers": None,
    "collect.comparisons": None,
    "collect.endpoint": asdict(AnnotatorConfig()),
    "collect.ensemble": [],
    "collect.exclude": [],
    "collect.part": 1,
    "collect.parts": 1,
    "collect.proxy": None,
    "collect.rubric": None,
    "collect.select": None,
    "data.chat_template": None,
    "data.fields": {},
    "data.ignore": [],
    "data.template_kwargs": {},
    "data.train_examples": None,
    "data.train_on": "all",
    "data.train_responses": None,
    "data.truncate": "prompt",
    "data.val_path": None,
    "data.weights": [],
    "evaluation.policies": {},
    "evaluation.proxies": {},
    "evaluation.rounds": {},
    "evaluation.split": "auto",
    "export.dtype": "auto",
    "model.adapter": "none",
    "model.quantize": "none",
    "train.stop_at": {},
} | {f"reward.{name}": usual for name, usual in asdict(ScoringConfig()).items()}
"""Keys that came after the first runs: at these values they count as if they were not there."""

DEPENDENT = {
    "algo.divergence_alpha": "algo.divergence",
    "algo.reference_mixup": "algo.reference_sync_steps",
    "algo.kl_limit": "algo.kl_guard",
    "model.lora_r": "model.adapter",
    "model.lora_alpha": "model.adapter",
    "model.lora_targets": "model.adapter",
}
"""Keys that mean nothing, and don't count, where another one of `ADDED` doesn't count."""


def run_id(config: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    """Eight hex digits of the sha256 of what determines the result.

    Args:
        config: the resolved configuration as plain dictionaries.
        hashes: what takes the place of keys that name files, since a moved file is the same experiment and a changed
            one is not: the sha256 of a data file, `Parent.identity` for weights. A key without one, such as the name
            of a data set of the hub, counts as it is.
    """
    content: dict[str, Any] = {}
    for section, value in config.items():
        if section in IGNORED:
            continue
        counted = _counted(section, value) if isinstance(value, Mapping) else value
        # A section that is younger than the first runs counts as its keys do.
        if counted or not value:
            content[section] = counted
    for path, digest in hashes.items():
        section, _, key = path.partition(".")
        if not key and section in content:
            content[section] = digest
        elif key and key in content.get(section, {}):
            content[section][key] = digest
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def differing_keys(config: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Dotted keys that make two configurations different experiments, as far as the configurations alone tell."""
    found: list[str] = []
    for section in sorted({*config, *other} - set(IGNORED)):
        ours, theirs = config.get(section), other.get(section)
        ours = {} if ours is None and isinstance(theirs, Mapping) else ours
        theirs = {} if theirs is None and isinstance(ours, Mapping) else theirs
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            ours, theirs = _counted(section, ours), _counted(section, theirs)
            names = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
            found += [f"{section}.{name}" for name in names]
        elif ours != theirs:
            found.append(section)
    return found


def _counted(section: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a section without the keys that do not count."""
    unset = {name for name, usual in ADDED.items() if content.get(name.removeprefix(f"{section}."), usual) == usual}

    def counts(key: str) -> bool:
        name = f"{section}.{key}"
        return name not in unset and DEPENDENT.get(name) not in unset and name not in IGNORED_KEYS

    return {key: value for key, value in content.items() if counts(key)}
