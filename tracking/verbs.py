"""What evaluations and collections tell Weights & Biases: numbers, tables, the report, and what they were made from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlhf.config import CollectConfig, DataConfig, EvaluateConfig, PrepareConfig, plain
from rlhf.config.rules.preparation import source_entries
from rlhf.data.files.values import file_sha256
from rlhf.evaluation.outcome import Evaluation
from rlhf.quiet import quiet_libraries
from rlhf.reporting.gather import read_evaluation
from rlhf.reporting.write import NAME as REPORT
from rlhf.runs import Run
from rlhf.runs.titles import DOT, subject, versus_title
from tracking.alerts import send_alert
from tracking.artifacts import close_open_run, data_artifact, file_artifact, log_artifacts, make_artifact, parents_of
from tracking.wandb_logger import build_wandb
from tracking.wandb_tables import as_text, attempt

log = logging.getLogger("rlhf")

RESULT = "evaluation.json"
EVALUATED = (RESULT, "answers.jsonl", "overoptimisation.svg", REPORT)
"""An evaluation's files, as far as they are there."""


@contextmanager
def wandb_run_of(config: CollectConfig | EvaluateConfig | PrepareConfig, run: Run, job: str) -> Iterator[Any]:
    """The W&B run of a verb that trains nothing; `None` where none is wanted, or none can be had.

    It ends with the block, as a failed one if an exception leaves the block.

    Args:
        job: the verb's name.
    """
    wandb_run = _start(config, run, job) if config.logger.wandb != "off" else None
    code = 1
    try:
        yield wandb_run
        code = 0
    finally:
        if wandb_run is not None:
            attempt("the end of the run", wandb_run.finish, code)


def _start(config: CollectConfig | EvaluateConfig | PrepareConfig, run: Run, job: str) -> Any:
    quiet_libraries()
    close_open_run()
    try:
        models = _models(run)
        title = DOT.join(filter(None, [job, _subject(config, models)]))
        wandb_run = build_wandb(config.logger, run, job, [*models, config.data.name], title).experiment
    except Exception as error:  # The library's own service may not start, offline too.
        log.warning("W&B: nothing is logged, since no run could be started: %s", " ".join(str(error).split())[:200])
        return None
    attempt("the configuration", lambda: wandb_run.config.update(plain(config), allow_val_change=True))
    return wandb_run


def _models(run: Run) -> list[str]:
    """What the models that it uses are called in directories: a tag that the runs which made them have, too."""
    return [summary.model for _, summary in parents_of(run) if summary is not None and summary.model]


def _subject(config: CollectConfig | EvaluateConfig | PrepareConfig, models: list[str]) -> str:
    """What an evaluation compares, or whom a collection samples."""
    if isinstance(config, EvaluateConfig):
        names = [name for name, given in config.models.items() if given]
        return versus_title(names or ["reward model"], models, config.data.name)
    return subject(models, [config.data.name])


def log_evaluation(wandb_run: Any, config: EvaluateConfig, run: Run, evaluation: Evaluation) -> None:
    """Everything that a finished comparison has to say. Its files must be written."""
    numbers = {f"eval/{name}": value for name, value in evaluation.final().items()}
    attempt("the metrics", lambda: wandb_run.summary.update(numbers))
    attempt("the tables", lambda: wandb_run.log(tables(evaluation)))
    attempt("the report", _log_report, wandb_run, run.dir / REPORT)
    attempt("the alerts", _log_alerts, wandb_run, run.dir)
    log_artifacts(wandb_run, config, run, lambda files: _evaluation_artifact(run, files))


def log_collection(wandb_run: Any, config: CollectConfig, run: Run, path: Path) -> None:
    """What a finished collection made.

    Args:
        path: the ranked JSONL.
    """
    numbers = {f"collect/{name}": value for name, value in run.summary.final.items()}
    attempt("the metrics", lambda: wandb_run.summary.update(numbers))
    more = {"name": "preferences", "directory": str(run.dir), **run.summary.final}
    log_artifacts(wandb_run, config, run, lambda files: file_artifact(path, more, files))


def log_preparation(wandb_run: Any, config: PrepareConfig, run: Run) -> None:
    """What a finished preparation counted, its card, and from which files it made which."""
    numbers = {f"prepare/{name}": value for name, value in run.summary.final.items()}
    attempt("the metrics", lambda: wandb_run.summary.update(numbers))
    attempt("the card", lambda: wandb_run.summary.update({"data_card": run.summary.data_cards[0]["sha256"]}))
    if config.logger.artifacts != "off":
        attempt("artifacts", _log_prepared, wandb_run, config, run)


def _log_prepared(wandb_run: Any, config: PrepareConfig, run: Run) -> None:
    files = config.logger.artifacts == "files"
    for entry in source_entries(config):
        data = DataConfig(name=entry.name, source="file" if entry.is_local else "hub", path=entry.path)
        data.split, data.subset = entry.split or "train", entry.subset
        artifact = data_artifact(data, files)
        wandb_run._log_artifact(artifact, aliases=[], is_user_created=True, use_after_commit=True)
    if config.synthetic.path is not None:
        seeds = data_artifact(DataConfig(name="seeds", source="file", path=config.synthetic.path), files)
        wandb_run._log_artifact(seeds, aliases=[], is_user_created=True, use_after_commit=True)
    # As the run that trains on it describes it.
    made = DataConfig(name=config.data.name, source="file", path=str(run.dir))
    wandb_run.log_artifact(data_artifact(made, files))


def tables(evaluation: Evaluation) -> dict[str, Any]:
    """Win rates and answers as W&B's tables, by the names under which they are logged; empty ones are left out."""
    import wandb

    found: dict[str, Any] = {}
    if rates := evaluation.win_rates():
        columns: list[Any] = ["pair", "rate", "low", "high", "won", "tied", "lost", "prompts", "sign test p", "by"]
        rows = [
            [pair, r.rate, r.low, r.high, r.wins, r.ties, r.losses, r.n, r.sign.p, r.by] for pair, r in rates.items()
        ]
        found["eval/win_rates"] = wandb.Table(columns=columns, data=rows)
    if evaluation.models:
        found["eval/answers"] = _answers(evaluation)
    return found


def _answers(evaluation: Evaluation) -> Any:
    """A prompt a row, all answers to it side by side, each with what judge and reward model gave it."""
    import wandb

    columns: dict[str, list[Any]] = {"prompt": [as_text(prompt.turns) for prompt in evaluation.prompts]}
    if evaluation.categories:
        columns["category"] = list(evaluation.categories)
    # Where a reward model judges, its reward is the score.
    rewarded = evaluation.judge not in ("reward", "ensemble")
    for name, replies in evaluation.contestants.items():
        records = [replies.record(i) for i in range(len(evaluation.prompts))]
        columns[f"{name} answer"] = [record["response"] for record in records]
        if replies.marks:
            columns[f"{name} score"] = [record["score"] for record in records]
        if replies.rewards and rewarded:
            columns[f"{name} reward"] = [record["reward"] for record in records]
    for pair, compared in evaluation.comparisons.items():
        columns[pair] = [None if c is None else c.outcome for c in compared]
    names: list[Any] = list(columns)
    return wandb.Table(columns=names, data=[list(row) for row in zip(*columns.values(), strict=True)])


def _log_report(wandb_run: Any, page: Path) -> None:
    import wandb

    # It may be missing: a report that fails is worth a warning there, not the result. Self-contained, and so as it is.
    if page.exists():
        wandb_run.log({"eval/report": wandb.Html(page, inject=False)})


def _log_alerts(wandb_run: Any, directory: Path) -> None:
    for finding in read_evaluation(directory).findings():
        send_alert(wandb_run, finding)


def _evaluation_artifact(run: Run, files: bool) -> Any:
    """Where the lineage of the compared models ends."""
    card = {"algo": "evaluate", "id": run.id, "sha256": file_sha256(run.dir / RESULT)}
    content = {name: run.dir / name for name in EVALUATED if (run.dir / name).exists()} if files else {}
    return make_artifact(f"evaluate-{run.id}", "evaluation", card, {"directory": str(run.dir)}, content)
