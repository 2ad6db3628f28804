"""SIGKILL, which no code can catch; `benchmarks/exactness/kill_and_resume.py` does it twenty times for every stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.exactness.kill_and_resume import STAGES, Trainer, command, torture


@pytest.mark.slow
def test_killed_at_random_moments_every_stage_ends_with_the_same_bits(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for stage in STAGES:
        trainer.finish([*command(stage, tmp_path), f"hydra.run.dir={tmp_path / stage}"])
    for stage in STAGES:
        outcome = torture(stage, trainer, tmp_path, kills=4)
        assert outcome.kills == outcome.resumed == 4 and outcome.whole, outcome
