"""The metrics by which runs of a sweep are compared and optimised: `train.objective`, else the algorithm's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from rlhf.config.schema import TrainConfig
from rlhf.errors import ConfigError, nearest

Value: TypeAlias = float | tuple[float, ...] | None
"""One number, one for each objective, or `None`: nothing was measured."""

SMALL_IS_GOOD = ("loss", "kl", "kl3", "nll", "bits_per_byte", "perplexity", "forgetting", "calibration_error")


def objectives(config: TrainConfig) -> list[str]:
    """Names of metrics, as in `summary.json`'s `final`."""
    return list(config.train.objective) or [config.algo.objective]


def maximised(name: str) -> bool:
    """Whether more of a metric is better, as far as its name tells."""
    return not name.rsplit("/", 1)[-1].endswith(SMALL_IS_GOOD)


def objective_value(config: TrainConfig, final: Mapping[str, float]) -> Value:
    """What a finished run is worth.

    Raises:
        ConfigError: `train.objective` names a metric that the run doesn't have.
    """
    if not config.train.objective and config.algo.objective not in final:
        return None
    values = []
    for name in objectives(config):
        if name not in final:
            raise ConfigError(_unknown(name, final))
        values.append(float(final[name]))
    return values[0] if len(values) == 1 else tuple(values)


def check_objective(config: TrainConfig, measured: Mapping[str, float]) -> None:
    """Check the metrics' names after the first validation, so that a misspelling is not noticed only after training.

    Raises:
        ConfigError: `train.objective` names a held-out metric that this stage doesn't measure.
    """
    for name in config.train.objective:
        if name.startswith("val/") and measured and name not in measured:
            raise ConfigError(_unknown(name, measured))


def _unknown(name: str, known: Mapping[str, float]) -> str:
    near = nearest(name, known)
    return f"train.objective: {name} is no metric of this run{near or '; it has ' + ', '.join(sorted(known))}"
