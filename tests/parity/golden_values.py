"""Reads the golden values, and compares ours with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-5


def golden(library: str, name: str) -> list[Any]:
    cases = json.loads((GOLDEN / f"{library}.json").read_text(encoding="utf-8"))[name]
    return [pytest.param(case, id=f"{library}-{name}-{i}") for i, case in enumerate(cases)]


def tensor(values: Any) -> Tensor:
    """fp32, in which training computes."""
    return torch.tensor(values, dtype=torch.float32)


def assert_same(ours: Tensor, theirs: Any) -> None:
    expected = torch.tensor(theirs, dtype=torch.float64)
    torch.testing.assert_close(ours.detach().double(), expected, atol=TOLERANCE, rtol=TOLERANCE)
