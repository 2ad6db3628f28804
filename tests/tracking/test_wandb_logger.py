"""Weights & Biases where its server can't be reached."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import wandb

from launch.sweeps.runner import INTERRUPTED, REQUEUE
from rlhf import errors
from rlhf.config import LoggerConfig
from rlhf.config.rules.logger import NAME
from rlhf.runs import Run, Summary
from tracking import wandb_logger


def test_a_server_that_cannot_be_reached_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wandb.teardown()  # What another test logged was offline, which the library would remember.
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "online")  # and be put back: offline logging sets it
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the port of the discard service: nobody is there
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(wandb_logger, "REACHED_WITHIN", 1.0)
    config = LoggerConfig(wandb="online", tags=["mine", "sft"])
    run = Run(tmp_path, "0123abcd")
    with caplog.at_level(logging.WARNING, logger="rlhf"):
        logger = wandb_logger.build_wandb(config, run, "sft", ["tiny"])
    (record,) = [record for record in caplog.records if record.name == "rlhf"]  # The library has a logger of its own.
    assert "logger.wandb: online, but the server did not let this run in" in record.message
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.experiment.finish()
    assert list((tmp_path / "wandb").glob("offline-run-*"))
    identity = Summary.read(tmp_path).wandb_id
    assert identity == run.summary.wandb_id is not None
    again = Run(tmp_path / "moved", "0123abcd", summary=Summary(wandb_id=identity), is_main=False)
    config.wandb = "offline"
    settings = wandb_logger.build_wandb(config, again, "sft", ["tiny"])._wandb_init
    assert settings["id"] == identity, "a resumed run keeps its curves"
    assert settings["name"] == "0123abcd", "nothing else is known of it"
    assert settings["job_type"] == "sft" and settings["tags"] == ["sft", "tiny", "mine"], "each tag once"


def test_there_is_one_code_for_each_ending() -> None:
    """`launch/sweeps/runner.py` travels without the rest, and so repeats them."""
    assert (errors.Interrupted("").code, errors.REQUEUE) == (INTERRUPTED, REQUEUE)


def test_runs_are_named_by_what_they_train_and_ids_come_last(tmp_path: Path) -> None:
    summary = Summary(algo="ppo", model="tiny", data="assistant", overrides=["algo=ppo", "algo.kl_coef=0.1"])
    run = Run(tmp_path, "0123abcd", summary=summary, is_main=False)
    config = LoggerConfig(wandb="offline")
    names = [
        wandb_logger.build_wandb(config, run, "ppo", [], title)._wandb_init["name"] for title in ("", "evaluate · sft")
    ]
    assert names == ["ppo · tiny on assistant · kl_coef=0.1 · 0123abcd", "evaluate · sft · 0123abcd"]
    long = wandb_logger.named("x" * 200, "0123abcd")
    assert len(long) == NAME and long.endswith("x · 0123abcd")
