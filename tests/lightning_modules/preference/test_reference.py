"""Reference log-probabilities on disk: shared by runs that would compute the same, by no others."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lightning_modules.preference import reference
from lightning_modules.preference.reference import CACHE, Reference, key_of
from rlhf.config import DPOConfig, TrainConfig
from rlhf.data.rows import Row
from rlhf.errors import TrainingError

ROWS = {"train": [Row((1, 2), ((3,), (4, 5)), ((0, 1),), index=4)], "val": []}
CONTENT = {"train/4": torch.tensor([-1.5, -2.0])}


def config() -> TrainConfig:
    return TrainConfig(algo=DPOConfig())


def test_the_name_hangs_on_all_that_decides_the_numbers_and_on_nothing_else(tmp_path: Path) -> None:
    def key(weights: str | None, rows: Any, config: TrainConfig, device: str = "cpu", **settings: Any) -> str | None:
        (tmp_path / "config.json").write_text(json.dumps(settings))
        return key_of(weights, str(tmp_path), rows, config, device)

    own = key("abc", ROWS, config())
    assert own is not None
    cache = Reference(ROWS, own).cache
    assert cache is not None and cache.parent == CACHE
    other = config()
    other.algo.beta, other.seed, other.algo.lr = 0.7, 5, 1e-3  # type: ignore[attr-defined]
    assert key("abc", ROWS, other) == own
    assert key("abc", ROWS, config(), transformers_version="0") == own
    precise = config()
    precise.strategy.precision = "bf16"
    split = config()
    split.strategy.tensor_parallel = 2
    small = config()
    small.train.tokens_per_microbatch = 512
    different = [
        key("abd", ROWS, config()),
        key("abc", ROWS, config(), "gpu"),
        key("abc", ROWS, config(), rope_theta=1.0),
        key("abc", ROWS, precise),
        key("abc", ROWS, split),
        key("abc", ROWS, small),
        key("abc", {"train": ROWS["train"], "val": ROWS["train"]}, config()),
        key("abc", {"train": [Row((1, 2), ((3,), (4, 6)), ((0, 1),), index=4)], "val": []}, config()),
        key("abc", {"train": [Row((1, 2), ((3,), (4, 5)), ((0, 1),), index=5)], "val": []}, config()),
    ]
    assert len({own, *different}) == 1 + len(different)
    assert key(None, ROWS, config()) is None
    assert Reference(ROWS).cache is None


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reference:
    monkeypatch.setattr(reference, "CACHE", tmp_path / "deep" / "cache")
    return Reference(ROWS, "ab" * 32, tmp_path / "run" / "reference.safetensors")


def test_what_is_written_is_read(known: Reference) -> None:
    assert known.stored() is None and known.shared() is None
    known.keep(CONTENT, cached=False)
    for found in (known.stored(), known.shared()):
        assert found is not None and torch.equal(found["train/4"], CONTENT["train/4"])
    assert known.cache is not None
    assert [path.name for path in known.cache.parent.iterdir()] == [known.cache.name]


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "half":
        path.write_bytes(content[: len(content) // 2])
    elif how == "a bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif how == "another's":
        other = Reference(ROWS, "cd" * 32, path)
        other.write(path, CONTENT)
    elif how == "other rows":
        Reference({"train": [Row((1, 2), ((3,), (4, 7)), ((0, 1),), index=4)]}, "ab" * 32).write(path, CONTENT)
    elif how == "too few":
        Reference(ROWS, "ab" * 32).write(path, {"train/4": torch.tensor([-1.5])})
    elif how == "not numbers":
        Reference(ROWS, "ab" * 32).write(path, {"train/4": torch.tensor([1, 2])})
    else:
        save_file(CONTENT, path)


@pytest.mark.parametrize(
    "how", ["half", "a bit", "pipe", "another's", "other rows", "too few", "not numbers", "no facts"]
)
def test_what_can_not_be_trusted_is_computed_anew_and_replaced(
    known: Reference, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    known.keep(CONTENT, cached=False)
    assert known.cache is not None
    damaged(known.cache, how)
    assert known.shared() is None
    assert str(known.cache) in caplog.text
    known.keep(CONTENT, cached=False)
    assert known.shared() is not None


@pytest.mark.parametrize(
    ("how", "trusted"),
    [("half", False), ("a bit", False), ("other rows", False), ("another's", True), ("no facts", True)],
)
def test_a_run_reads_its_own_on_another_layout_and_from_an_earlier_version(
    known: Reference, how: str, trusted: bool
) -> None:
    known.keep(CONTENT, cached=False)
    assert known.store is not None
    damaged(known.store, how)
    assert (known.stored() is not None) == trusted


def test_nan_is_not_shared(known: Reference) -> None:
    known.keep({"train/4": torch.tensor([float("nan"), -1.0])}, cached=False)
    assert known.shared() is None and known.stored() is not None


def test_a_full_disk_ends_the_run_for_its_own_file_and_not_for_the_cache(
    known: Reference, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = reference.save_file

    def full(content: Any, path: Path, **options: Any) -> None:
        if str(path).startswith(str(where)):
            raise OSError(errno.ENOSPC, "No space left on device")
        right(content, path, **options)

    monkeypatch.setattr(reference, "save_file", full)
    assert known.cache is not None and known.store is not None
    where = known.cache.parent
    known.keep(CONTENT, cached=False)
    assert known.stored() is not None and known.shared() is None
    assert str(known.cache) in caplog.text
    where = known.store.parent
    with pytest.raises(TrainingError, match="reference"):
        known.keep(CONTENT, cached=False)
