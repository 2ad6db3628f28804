"""A program around a stage that only pretends, in a folder of its own; and evaluations of tiny random models."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Workers of pytest-xdist use up the cores; to be said before torch is loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from launch.app import Program
from rlhf.config import TrainConfig
from rlhf.config.objective import Value, objective_value
from rlhf.runs import Run

Stage = Callable[[TrainConfig, Run, list[str]], Value]


def pytest_configure(config: pytest.Config) -> None:
    """Where files are named, their whole runs of the program are meant too; only `pytest` alone leaves them out."""
    if config.option.markexpr == "not slow and not ci" and config.args != config.getini("testpaths"):
        config.option.markexpr = "not slow"


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
            kind = "GPT2ForSequenceClassification" if config.algo.exports == "scorer" else "GPT2LMHeadModel"
            (run.model / "config.json").write_text(f'{{"architectures": ["{kind}"], "id2label": {{"0": "x"}}}}')
        if self.final is None:
            return 1.0
        final = self.final(config)
        run.save(final=final, steps=1)
        return objective_value(config, final)

    @property
    def seeds(self) -> list[int]:
        return [config.seed for config, _, _ in self.calls]


@pytest.fixture(autouse=True)
def no_handlers_left() -> Iterator[None]:
    """A program that a test runs logs to the test's own streams, which are closed when the next one logs."""
    root = logging.getLogger()
    before, level = set(root.handlers), root.level
    yield
    for handler in set(root.handlers) - before:
        if not type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)
            root.setLevel(level)


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine what takes no time elsewhere would report its progress, among what a test reads."""
    monkeypatch.setattr("rlhf.progress.QUIET", 1e6)
    monkeypatch.setattr("rlhf.progress.enabled", True)  # a run without bars would silence those after it


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser for tests of pages."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("CHROMIUM") or next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here; install one, or name it in CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def program_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder of a program that a test runs. What it leaves on the root logger is taken away after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield tmp_path
    # Hydra puts handlers of its own on the root logger, which would write to this test's folder from then on.
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:], root.level = before


@pytest.fixture
def stage() -> Pretend:
    return Pretend()


@pytest.fixture
def main(stage: Pretend, program_folder: Path) -> Callable[[str], int]:
    """`main("algo=dpo -m")` runs the program and returns its exit code."""

    def pretend(config: TrainConfig, run: Run, overrides: list[str]) -> Value:
        """Pretend to train."""
        return stage(config, run, overrides)

    return lambda line: Program("train", pretend).main(line.split())


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What stderr has, since last asked."""
    return lambda: capsys.readouterr().err.strip()


SMALL = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 0.1}
QUICK = "rollout.max_new_tokens=8 evaluation.prompts=12 evaluation.texts=3 evaluation.best_of=5 evaluation.shown=2"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of random models: `a` and `b` of the tiny tokenizer with reward models `r` and `q`, `gpt2` of another."""
    from rlhf.data.tokenizers.tokenizer import load_tokenizer
    from rlhf.models.files.export import export
    from rlhf.models.files.loading import load_policy, load_scorer

    folder, tiny, gpt2 = tmp_path_factory.mktemp("models"), load_tokenizer("tiny"), load_tokenizer("gpt2")
    for name, seed in (("a", 1), ("b", 2)):
        export(load_policy(None, SMALL, tiny, seed=seed), tiny, folder / name)
    export(load_policy(None, SMALL, gpt2, seed=3), gpt2, folder / "gpt2")
    for name, seed in (("r", 4), ("q", 5)):
        export(load_scorer(None, SMALL, tiny, seed=seed), tiny, folder / name)
    return folder


@pytest.fixture
def main_evaluate(models: Path, program_folder: Path) -> Iterator[Callable[[str], int]]:
    """`main_evaluate("models.sft={a}")`: the program in an empty folder, with quick settings, writing to `out`."""
    import torch

    from evaluate import evaluate

    threads = torch.get_num_threads()
    places = {path.name: path for path in models.iterdir()}
    yield lambda line: evaluate.main(
        [*QUICK.split(), "strategy.threads=1", "hydra.run.dir=out", *line.format(**places).split()]
    )
    torch.set_num_threads(threads)
