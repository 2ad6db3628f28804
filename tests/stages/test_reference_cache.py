"""Points of a sweep over DPO's settings share one reference pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from lightning_modules.dpo import DPOModule
from lightning_modules.preference.reference import CACHE

pytestmark = pytest.mark.ci


def test_the_second_run_computes_nothing_and_ends_the_same(main: Any, monkeypatch: Any) -> None:
    assert main("algo=sft train.max_steps=2 hydra.run.dir=sft") == 0
    passes = []
    right = DPOModule.compute_reference
    monkeypatch.setattr(DPOModule, "compute_reference", lambda self: (passes.append(1), right(self))[1])
    assert main("algo=dpo model.init=sft algo.beta=0.3 hydra.run.dir=first") == 0
    assert main("algo=dpo model.init=sft algo.beta=0.5 hydra.run.dir=second") == 0
    assert len(passes) == 1
    file = next(CACHE.glob("*.safetensors"))
    file.unlink()
    assert main("algo=dpo model.init=sft algo.beta=0.5 hydra.run.dir=third") == 0
    assert len(passes) == 2
    ends = [load_file(Path(name) / "model" / "model.safetensors") for name in ("second", "third")]
    assert all(ends[0][key].equal(ends[1][key]) for key in ends[0])


def test_a_copy_with_other_weights_and_the_old_summary_is_another_reference(main: Any) -> None:
    """What a summary says of its weights is not believed: the copy must not write what the original then reads."""
    assert main("algo=sft train.max_steps=2 hydra.run.dir=sft") == 0
    shutil.copytree("sft", "copy")
    file = Path("copy/model/model.safetensors")
    weights = load_file(file)
    save_file({name: value + 0.5 for name, value in weights.items()}, file, metadata={"format": "pt"})
    assert main("algo=dpo model.init=copy hydra.run.dir=of-copy") == 0
    assert main("algo=dpo model.init=sft hydra.run.dir=of-original") == 0
    assert len(list(CACHE.glob("*.safetensors"))) == 2
    summaries = [json.loads(Path(name, "summary.json").read_text()) for name in ("of-copy", "of-original")]
    assert len({summary["id"] for summary in summaries}) == 2
    assert len({summary["parents"]["model.init"]["sha256"] for summary in summaries}) == 2
