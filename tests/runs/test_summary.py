from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf.errors import ParentError
from rlhf.runs import Summary

DESIGN = {
    "status", "id", "algo", "model", "data", "steps", "resumed_from", "wall_seconds", "train_tokens_per_second",
    "peak_memory_bytes", "final", "parents", "seed", "overrides", "versions",
}  # fmt: skip


def test_the_keys_of_the_contract(tmp_path: Path) -> None:
    Summary().write(tmp_path)
    assert set(json.loads((tmp_path / "summary.json").read_text())) >= DESIGN


def test_round_trip(tmp_path: Path) -> None:
    summary = Summary(status="finished", id="12345678", final={"loss": 0.5}, overrides=["a=1"], resumed_from=7)
    summary.write(tmp_path)
    assert Summary.read(tmp_path) == summary


def test_versions_name_what_can_change_a_result() -> None:
    assert {"python", "torch", "lightning", "transformers"} <= set(Summary().versions)


def test_keys_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    Summary(id="x").write(tmp_path)
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "invented": 1}))
    assert Summary.read(tmp_path).id == "x"


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"status": "done"}', '{"status": 1}', "\udcff"])
def test_what_is_no_summary(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ParentError, match=r"summary\.json: "):
        Summary.read(tmp_path)


def test_no_summary_at_all(tmp_path: Path) -> None:
    with pytest.raises(ParentError, match=r"not a run directory, it holds no summary\.json"):
        Summary.read(tmp_path)
    with pytest.raises(ParentError, match="not a run directory"):
        Summary.read(tmp_path / "missing")


def test_an_unknown_status_is_a_mistake_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="status"):
        Summary(status="done").write(tmp_path)
