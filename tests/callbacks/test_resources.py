"""What a run's summary says of memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks import resources
from callbacks.resources import Resources


def test_an_interrupted_run_reports_its_devices_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning moves the module to the CPU before the summary is written: the process's memory is another number."""
    monkeypatch.setattr(resources, "peak_memory", lambda device: {"cuda": 7, "cpu": 1000}[device.type])
    watch, module = Resources(), SimpleNamespace(device=torch.device("cuda"), trained_tokens=0)
    trainer: Any = None
    watch.on_exception(trainer, module, KeyboardInterrupt())
    module.device = torch.device("cpu")
    assert watch.summary(module)["peak_memory_bytes"] == 7
