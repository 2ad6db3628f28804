"""Weights & Biases: a run's own curves, and no reason for it to stop or to wait."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from rlhf.config import LoggerConfig
from rlhf.config.rules.logger import NAME, TAG
from rlhf.runs import Run
from rlhf.runs.titles import DOT, run_title
from tracking.groups import group_of

log = logging.getLogger("rlhf")

REACHED_WITHIN = 10.0
"""Seconds that the server has to answer before the run starts."""
SENT_WITHIN = 60.0
"""Seconds that what is left to be sent has when the run has ended; the run directory keeps it for `wandb sync`."""


def build_wandb(config: LoggerConfig, run: Run, job: str, about: Sequence[str], title: str = "") -> WandbLogger:
    """The logger, online as configured; offline, with a warning, where the server can't be reached.

    The W&B run's id is kept in `summary.json`, so that a resumed run continues its own curves.

    Args:
        job: what the run does: the algorithm, or the verb where nothing is trained.
        about: further tags, such as the names of model and data.
        title: of the run in lists and legends, where its id is appended; empty: what its summary says it is.
    """
    mode = config.wandb
    # Names of models and data may be longer than a tag can be, and one that is refused would lose the run.
    tags = list(dict.fromkeys(tag[:TAG] for tag in (job, *about, *config.tags) if tag.strip()))
    key = os.environ.get("WANDB_API_KEY") or (Path.home() / ".netrc").exists()
    identity = run.summary.wandb_id or hashlib.sha256(f"{run.id}{run.dir}".encode()).hexdigest()[:12]
    run.save(wandb_id=identity)
    name = named(title or run_title(run.summary), run.id)
    if mode == "offline" or (mode == "auto" and not key):
        return _logger(config, run, name, identity, job, tags, offline=True)
    logger = _logger(config, run, name, identity, job, tags, offline=False)
    if not run.is_main:
        return logger
    import wandb

    try:
        logger.experiment  # noqa: B018 -- connects
    except (wandb.errors.Error, OSError, TimeoutError) as error:
        reason = " ".join(str(error).split())
        log.warning(
            "logger.wandb: %s, but the server did not let this run in (%s); it is logged offline, and `wandb sync %s` "
            "sends it later",
            mode,
            reason[:200],
            run.dir / "wandb",
        )
        wandb.teardown()  # Its service takes the run for one that is still under way.
        return _logger(config, run, name, identity, job, tags, offline=True)
    return logger


def named(title: str, run_id: str) -> str:
    """The title first, the id after it, within the length that W&B accepts; the id is never cut."""
    return DOT.join(filter(None, [title[: NAME - len(DOT) - len(run_id)], run_id]))


def _logger(
    config: LoggerConfig, run: Run, name: str, identity: str, job: str, tags: list[str], *, offline: bool
) -> WandbLogger:
    import wandb

    settings: dict[str, Any] = {"finish_timeout": SENT_WITHIN}
    if not offline:  # There it is only the library's own service that has to start.
        settings["init_timeout"] = REACHED_WITHIN
    logger = WandbLogger(
        project=config.project,
        entity=config.entity,
        name=name,
        id=identity,
        save_dir=str(run.dir),
        offline=offline,
        tags=tags,
        resume=None if offline else "allow",
        group=(group_of(config.group, run.dir) or "")[:NAME] or None,
        job_type=job,
        settings=wandb.Settings(**settings),
    )
    # Lightning passes it on even if it is not set, and W&B warns of it in every run.
    logger._wandb_init.pop("anonymous", None)
    return logger
