"""Refusals of `merge.py`, beyond ranges and choices."""

from __future__ import annotations

import math

from rlhf.config.verbs.schemas import MergeConfig
from rlhf.errors import ConfigError

ON_TASKS = ("slerp", "task_arithmetic")
"""Methods that work on what each model has learnt since `merge.init`."""


def check_merge(config: MergeConfig) -> None:
    """What can't be, beyond ranges and choices; models may be missing, since `--help` has none.

    Raises:
        ConfigError: in one sentence.
    """
    merge, count = config.merge, len(config.models)
    if "auto" in config.models:
        raise ConfigError("models: auto is no model to merge; name each one, as models=[RUN,RUN]")
    uses_init = merge.method in ON_TASKS or merge.towards_init > 0
    if uses_init and merge.init is None:
        why = f"merge.towards_init={merge.towards_init:g}" if merge.towards_init else f"merge.method={merge.method}"
        raise ConfigError(f"merge.init: missing; {why} needs what the models were trained from: merge.init=RUN")
    if not uses_init and merge.init is not None:
        raise ConfigError(
            f"merge.init: {merge.init} would not be read with merge.method=linear; add merge.method=slerp or "
            "merge.towards_init"
        )
    if count == 1 and (merge.method == "slerp" or not uses_init):
        raise ConfigError(f"models: one alone is no merge with merge.method={merge.method}; pass models=[RUN,RUN]")
    if merge.weights and count and len(merge.weights) != count:
        raise ConfigError(f"merge.weights: {len(merge.weights)} weights for {count} models; give one for each")
    if any(not math.isfinite(weight) for weight in merge.weights):
        raise ConfigError(f"merge.weights: {merge.weights} must be finite")
    if merge.method != "task_arithmetic" and merge.weights and min(merge.weights) <= 0:
        raise ConfigError(f"merge.weights: {merge.weights} must all be > 0 with merge.method={merge.method}")
