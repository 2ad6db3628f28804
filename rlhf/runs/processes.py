"""Which of the processes of a run this one is."""

from __future__ import annotations

import os

RUN_DIR = "RLHF_RUN_DIR"
"""Variable of the environment by which the first process tells the others the run's directory."""


def is_main() -> bool:
    """Whether this process is the first of its run, started by Lightning, torchrun or srun, or alone."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID"))


def is_launched() -> bool:
    """Whether the first process of this run started this one, through Lightning's launcher."""
    return RUN_DIR in os.environ and not is_main()
