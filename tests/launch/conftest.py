"""A program around a stage that only pretends, in a folder of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch.app import Program
from launch.objective import Value, objective_value
from rlhf.config import TrainConfig
from rlhf.runs import Run

Stage = Callable[[TrainConfig, Run, list[str]], Value]


class Pretend:
    """Remembers what it was called with, writes an export, and fails as `errors` says, by seed."""

    def __init__(self) -> None:
        self.calls: list[tuple[TrainConfig, Run, list[str]]] = []
        self.errors: dict[int, BaseException] = {}
        self.within: Callable[[], None] = lambda: None
        self.final: Callable[[TrainConfig], dict[str, float]] | None = None

    def __call__(self, config: TrainConfig, run: Run, overrides: list[str]) -> Value:
        """Pretend to train."""
        self.calls.append((config, run, overrides))
        self.within()
        if config.seed in self.errors:
            raise self.errors[config.seed]
        if run.is_main:
            run.model.mkdir()
            (run.model / "model.safetensors").write_text(f"{run.dir}")
            kind = "GPT2ForSequenceClassification" if config.algo.name == "reward" else "GPT2LMHeadModel"
            (run.model / "config.json").write_text(f'{{"architectures": ["{kind}"], "id2label": {{"0": "x"}}}}')
        if self.final is None:
            return 1.0
        final = self.final(config)
        run.save(final=final, steps=1)
        return objective_value(config, final)

    @property
    def seeds(self) -> list[int]:
        return [config.seed for config, _, _ in self.calls]


@pytest.fixture
def stage() -> Pretend:
    return Pretend()


@pytest.fixture
def main(stage: Pretend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """`main("algo=dpo -m")` runs the program and returns its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def pretend(config: TrainConfig, run: Run, overrides: list[str]) -> Value:
        """Pretend to train."""
        return stage(config, run, overrides)

    yield lambda line: Program("train", pretend).main(line.split())
    # Hydra puts handlers of its own on the root logger, which would go on writing to this test's folder.
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:], root.level = before


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What stderr has, since last asked."""
    return lambda: capsys.readouterr().err.strip()
