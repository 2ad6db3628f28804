"""Reference log-probabilities on disk: shared by runs that would compute the same, by no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_modules import reference
from lightning_modules.reference import CACHE, cached
from rlhf.config import DPOConfig, TrainConfig
from rlhf.data.rows import Row

ROWS = {"train": [Row((1, 2), ((3,), (4, 5)), ((0, 1),), index=4)], "val": []}


def config() -> TrainConfig:
    return TrainConfig(algo=DPOConfig())


def test_the_name_hangs_on_all_that_decides_the_numbers_and_on_nothing_else() -> None:
    own = cached("abc", ROWS, config())
    assert own is not None
    assert own.parent == CACHE
    other = config()
    other.algo.beta, other.seed, other.algo.lr = 0.7, 5, 1e-3  # type: ignore[attr-defined]
    assert cached("abc", ROWS, other) == own
    precise = config()
    precise.strategy.precision = "bf16"
    split = config()
    split.strategy.tensor_parallel = 2
    small = config()
    small.train.tokens_per_microbatch = 512
    different = [
        cached("abd", ROWS, config()),
        cached("abc", ROWS, precise),
        cached("abc", ROWS, split),
        cached("abc", ROWS, small),
        cached("abc", {"train": ROWS["train"], "val": ROWS["train"]}, config()),
        cached("abc", {"train": [Row((1, 2), ((3,), (4, 6)), ((0, 1),), index=4)], "val": []}, config()),
        cached("abc", {"train": [Row((1, 2), ((3,), (4, 5)), ((0, 1),), index=5)], "val": []}, config()),
    ]
    assert len({own, *different}) == 1 + len(different)
    assert cached(None, ROWS, config()) is None


def test_what_is_written_is_read_and_a_broken_file_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "deep" / "reference.safetensors"
    assert reference.read(file) is None
    content = {"train/4": torch.tensor([-1.5, -2.0])}
    reference.write(file, content)
    found = reference.read(file)
    assert found is not None
    assert torch.equal(found["train/4"], content["train/4"])
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    file.write_bytes(b"half")
    assert reference.read(file) is None
    assert str(file) in caplog.text
