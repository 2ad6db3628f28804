"""Tasks of lm-evaluation-harness, through its own interface: its definitions, its prompts, its numbers."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlhf.config import EvaluateSettings, StrategyConfig
from rlhf.errors import ConfigError, first_line, nearest
from rlhf.runs import Parent
from verbs.finished_model import device_of, dtype_of

ROOT = Path(__file__).resolve().parents[2]

log = logging.getLogger("rlhf")


@contextmanager
def own_names_hidden() -> Iterator[None]:
    """The harness imports a package named `evaluate`, late; our script of that name must not stand before it."""
    ours = {
        name: module
        for name in ("evaluate",)
        if (module := sys.modules.get(name)) is not None and _within(getattr(module, "__file__", None))
    }
    path = sys.path[:]
    for name in ours:
        del sys.modules[name]
    sys.path[:] = [entry for entry in path if Path(entry or ".").resolve() != ROOT]
    try:
        yield
    finally:
        sys.path[:] = path
        sys.modules.update(ours)


def _within(file: str | None) -> bool:
    return file is not None and Path(file).resolve().parent == ROOT


def check_tasks(settings: EvaluateSettings) -> Any:
    """The harness's list of tasks, with the user's own; loads no data.

    Raises:
        ConfigError: a task is not among them, or a folder's own can't be read.
    """
    with own_names_hidden():
        from lm_eval.tasks import TaskManager

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        try:
            if settings.harness_path is not None:
                # Reading the library's own list takes 20 seconds, for which the user's own tasks need not wait.
                manager = TaskManager(include_path=settings.harness_path, include_defaults=False)
                if set(settings.harness) <= set(manager.all_tasks):
                    return manager
            manager = TaskManager(include_path=settings.harness_path)
        except Exception as error:  # a YAML file can raise anything
            raise ConfigError(f"evaluation.harness_path: {settings.harness_path} can't be read: {error}") from error
        known = set(manager.all_tasks)
    for task in settings.harness:
        if task not in known:
            raise ConfigError(
                f"evaluation.harness: {task} is not a task of lm-evaluation-harness{nearest(task, sorted(known))}; "
                "evaluation.harness_path=FOLDER adds your own"
            )
    return manager


def run_harness(
    settings: EvaluateSettings, strategy: StrategyConfig, parents: dict[str, Parent], manager: Any
) -> dict[str, dict[str, dict[str, float]]]:
    """Model → task → metric (and `metric_stderr`) → value; the metrics' names are the harness's, filters left out
    where there is none.

    Raises:
        ConfigError: a task's data or definition can't be had.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    with own_names_hidden():
        import lm_eval

        for name, parent in parents.items():
            log.info("%s: lm-evaluation-harness on %s", name, ", ".join(settings.harness))
            try:
                results = lm_eval.simple_evaluate(
                    model="hf",
                    model_args={
                        "pretrained": parent.source,
                        "dtype": str(dtype_of(strategy)).removeprefix("torch."),
                        # Named, or it would look for the model's card on the hub.
                        "tokenizer": parent.source,
                    },
                    device=str(device_of(strategy)),
                    tasks=list(settings.harness),
                    num_fewshot=settings.harness_fewshot,
                    batch_size=settings.harness_batch,
                    limit=settings.harness_limit,
                    task_manager=manager,
                    log_samples=False,
                )
            except Exception as error:  # its own, those of datasets, of the network, of a task's code
                reason = first_line(error)
                raise ConfigError(
                    f"evaluation.harness: {', '.join(settings.harness)} on models.{name} failed with "
                    f"{type(error).__name__}: {reason[:300]}; its data may need the network; "
                    "evaluation.harness_path takes tasks that read local files"
                ) from error
            found[name] = {task: numbers(values) for task, values in results["results"].items()}
    return found


def numbers(values: dict[str, Any]) -> dict[str, float]:
    """`acc,none` → `acc`, `acc_stderr,none` → `acc_stderr`; other filters stay in the name, as `exact_match,strict`."""
    return {
        name.removesuffix(",none"): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and "," in name
    }
