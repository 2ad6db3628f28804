"""`train.stop_at`: limits of metrics at which a run ends early, as finished."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rlhf.config.schema import TrainConfig
from rlhf.errors import ConfigError, nearest

BOUNDS = ("min", "max")
CLOCKED = ("time/", "seconds", "per_second")
"""Parts of the names of metrics that a clock measures: ranks would come to different answers, and so would a replay."""

HELD_OUT = "val/"
"""What names of a validation's metrics begin with."""

Rules = Mapping[str, Mapping[str, float]]


def check_stop_rules(config: TrainConfig) -> None:
    """Refuse rules that nothing could pass.

    Raises:
        ConfigError: in one sentence.
    """
    for metric, bounds in config.train.stop_at.items():
        where = f"train.stop_at.{metric}"
        if not isinstance(bounds, Mapping) or not bounds or set(bounds) - set(BOUNDS):
            raise ConfigError(f"{where}: {bounds!r} must be {{max: LIMIT}}, {{min: LIMIT}} or both")
        for limit in bounds.values():
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
                raise ConfigError(f"{where}: {limit!r} is not a finite number")
        if bounds.get("min", -math.inf) >= bounds.get("max", math.inf):
            raise ConfigError(f"{where}: min {bounds['min']:g} must be below max {bounds['max']:g}")
        if any(part in metric for part in CLOCKED):
            raise ConfigError(f"{where}: is measured by a clock, and a run must end the same whenever it is repeated")
        if metric.startswith(HELD_OUT) and config.train.val_every is None:
            raise ConfigError(
                f"{where}: with train.val_every=null it is first measured at the end; set train.val_every"
            )


def check_validated(rules: Rules, held_out: int) -> None:
    """Refuse rules that nothing would look at, once the data is known.

    Args:
        held_out: number of examples to validate on.

    Raises:
        ConfigError: a rule is about a validation, and there is none.
    """
    for metric in rules if not held_out else ():
        if metric.startswith(HELD_OUT):
            raise ConfigError(
                f"train.stop_at.{metric}: nothing is held out, so it is never measured; raise data.val_fraction, or "
                "pass data.val_path=FILE"
            )


def stop_reason(rules: Rules, measured: Mapping[str, float], step: int) -> str | None:
    """Why a run ends after this step, in a sentence; `None`: no limit is passed."""
    for metric, bounds in rules.items():
        value = measured.get(metric)
        if value is None:
            continue
        for bound, passed in (
            ("max", value > bounds.get("max", math.inf)),
            ("min", value < bounds.get("min", -math.inf)),
        ):
            if passed:
                side = "above" if bound == "max" else "below"
                return f"stopped after step {step}: {metric} is {value:.4g}, {side} train.stop_at's {bounds[bound]:g}"
    return None


def check_measured(rules: Rules, measured: Mapping[str, float], *, held_out: bool) -> None:
    """Once a step, or a validation, has shown which metrics there are: a misspelt one would never end the run.

    Args:
        measured: the metrics of a step, or those of a validation (`held_out`).

    Raises:
        ConfigError: a rule is about a metric that this run doesn't have.
    """
    for metric in rules:
        if measured and metric.startswith(HELD_OUT) == held_out and metric not in measured:
            known = f"; it has {', '.join(sorted(measured))}"
            raise ConfigError(f"train.stop_at.{metric}: is no metric of this run{nearest(metric, measured) or known}")
