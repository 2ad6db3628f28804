"""Gates: what the numbers of a finished stage must reach, for the stages after it to run."""

from __future__ import annotations

from pathlib import Path

from launch.stages.rounds import template_of
from rlhf.config import StageConfig
from rlhf.errors import ConfigError, TrainingError
from rlhf.runs import Summary


class RoundsEnd(Exception):
    """A gate with `end_rounds` was missed: no round begins any more, and none continues."""


def check_gates(name: str, stage: StageConfig, directory: Path) -> None:
    """Compare a finished stage's final metrics with its gates.

    Raises:
        TrainingError: one was missed.
        RoundsEnd: one was missed that only ends the rounds.
        ConfigError: a gate names a metric that the stage does not have.
    """
    final = Summary.read(directory).final
    plain = template_of(name)
    for metric, bounds in stage.gates.items():
        if metric not in final and bounds.get("optional"):
            print(f"gate: {metric} was not measured on this data", flush=True)
            continue
        if metric not in final:
            raise ConfigError(f"stages.{plain}.gates: no {metric} in summary.json; there are {', '.join(final)}")
        value = final[metric]
        low, high = bounds.get("min"), bounds.get("max")
        ok = (low is None or value >= low) and (high is None or value <= high)
        print(f"gate: {metric} {value:.4g}, {'passed' if ok else 'missed'}", flush=True)
        if ok:
            continue
        wanted = f"at least {low}" if low is not None and value < low else f"at most {high}"
        missed = f"stage {name} missed its gate: {metric} is {value:.4g}, must be {wanted}"
        if bounds.get("end_rounds"):
            raise RoundsEnd(missed)
        raise TrainingError(
            f"{missed}; look at {directory}, change {name}.KEY=VALUE and run the pipeline again, or pass gates=false "
            "to continue anyway"
        )
