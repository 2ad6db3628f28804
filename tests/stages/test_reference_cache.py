"""Points of a sweep over DPO's settings share one reference pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from lightning_modules.dpo import DPOModule
from lightning_modules.reference import CACHE


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
