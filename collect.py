"""Collect preferences: `python collect.py model.init=RUN`; `python collect.py --help` shows what can be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launch.app import verb

if TYPE_CHECKING:
    from rlhf.config import CollectConfig
    from rlhf.runs import Run


@verb("collect")
def collect(config: CollectConfig, run: Run, overrides: list[str]) -> float | None:
    """Sample several answers to each prompt, have an annotator rank them, and write the ranked JSONL."""
    # Here, since it imports torch, and a mistyped key should be told without waiting for that.
    from launch.collect import run_collect

    return run_collect(config, run, overrides)


if __name__ == "__main__":
    collect()
