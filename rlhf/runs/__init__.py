"""What a run is on disk: identity, directory, lock, summary, and the runs that it builds on."""

from __future__ import annotations

from rlhf.runs.directory import Run, State, inspect, open_run
from rlhf.runs.files import atomic_write_json, atomic_write_text
from rlhf.runs.identity import run_id
from rlhf.runs.listing import all_runs, newest_run
from rlhf.runs.parents import Parent
from rlhf.runs.resolve import (
    find_parent,
    resolve_init,
    resolve_reward_model,
    resolve_reward_models,
    resolve_scorer,
    resolve_source,
)
from rlhf.runs.summary import Summary
from rlhf.storage.weights import weights_sha256

__all__ = [
    "Parent",
    "Run",
    "State",
    "Summary",
    "all_runs",
    "atomic_write_json",
    "atomic_write_text",
    "find_parent",
    "inspect",
    "newest_run",
    "open_run",
    "resolve_init",
    "resolve_reward_model",
    "resolve_reward_models",
    "resolve_scorer",
    "resolve_source",
    "run_id",
    "weights_sha256",
]
