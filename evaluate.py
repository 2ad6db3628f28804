"""Compare models: `python evaluate.py models.sft=RUN models.ppo=RUN`; `python evaluate.py --help` shows the choices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launch.app import verb

if TYPE_CHECKING:
    from rlhf.config import EvaluateConfig
    from rlhf.runs import Run


@verb("evaluate")
def evaluate(config: EvaluateConfig, run: Run, overrides: list[str]) -> float | None:
    """Give several models the same held-out prompts; write scores, win rates, KL and a report, side by side."""
    # Here, since it imports torch, and a mistyped key should be told without waiting for that.
    from launch.evaluate import run_evaluate

    return run_evaluate(config, run, overrides)


if __name__ == "__main__":
    evaluate()
