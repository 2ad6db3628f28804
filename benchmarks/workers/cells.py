"""Runs of `train.py`, one after another, in the processes that torchrun started: `torchrun … cells.py LINES.json`.

One pair of processes serves all cells: starting them takes longer than what they compute.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from launch.app import Program  # noqa: E402
from rlhf.config import TrainConfig  # noqa: E402
from rlhf.config.objective import Value  # noqa: E402
from rlhf.runs import Run  # noqa: E402


def train(config: TrainConfig, run: Run, overrides: list[str]) -> Value:
    """Train one stage."""
    from verbs.train.stage import run_stage

    return run_stage(config, run, overrides)


def main() -> int:
    lines = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return max(Program("train", train).main(line.split()) for line in lines)


if __name__ == "__main__":
    sys.exit(main())
