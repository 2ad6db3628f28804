"""By which metrics a run is judged, and which way they are better."""

from __future__ import annotations

from rlhf.config.schema import TrainConfig

SMALL_IS_GOOD = ("loss", "kl", "kl3", "nll", "bits_per_byte", "perplexity", "forgetting", "calibration_error")


def objectives(config: TrainConfig) -> list[str]:
    """Names of metrics, as in `summary.json`'s `final`."""
    return list(config.train.objective) or [config.algo.objective]


def maximised(name: str) -> bool:
    """Whether more of a metric is better, as far as its name tells."""
    return not name.rsplit("/", 1)[-1].endswith(SMALL_IS_GOOD)
