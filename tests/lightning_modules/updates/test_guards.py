"""Losses and gradients that are not finite, and a KL that runs away."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from closed_form import EOS, LONGEST, PROMPTS, fit, make_world, new_policy

from lightning_modules.data import StageData
from lightning_modules.ppo import PPOModule
from lightning_modules.sft import SFTModule
from lightning_modules.updates.guards import BadSteps, Place, write_batch
from lightning_modules.updates.micro_batches import Micro
from rlhf.config import PPOConfig, SFTConfig, TrainConfig
from rlhf.data.rows import Row
from rlhf.errors import TrainingError
from rlhf.rollout.torch_sampler import TorchSampler

ROWS = [Row((1, 2), ((3, 1, 0),), index=10), Row((3,), ((2, 0),), index=11), Row((2, 2, 1, 1), ((0,),), index=12)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A trainer's directory is where it is started."""
    monkeypatch.chdir(tmp_path)
    yield


class Faulty(SFTModule):
    """In chosen steps, row 11 has a loss of NaN, or a finite one with an infinite gradient."""

    bad: tuple[int, ...] = ()
    kind = "loss"

    def loss_sum(self, batch: Any) -> Any:
        loss, report = super().loss_sum(batch)
        if self.step in self.bad and batch.n_targets == 2:  # row 11 alone, with one row a micro-batch
            # The slope of the root at 0 is infinite, and its value is 0.
            loss = loss * float("nan") if self.kind == "loss" else loss + torch.sqrt(loss - loss.detach())
        return loss, report


def sft(bad: tuple[int, ...], steps: int = 4, limit: int = 3, kind: str = "loss") -> Faulty:
    config = TrainConfig(algo=SFTConfig(lr=1e-2, lr_schedule="constant", warmup_steps=0))
    config.train.tokens_per_microbatch, config.train.max_bad_steps = 5, limit
    module = Faulty(config, steps, new_policy())
    module.bad, module.kind = bad, kind
    return module


def trained(module: Faulty) -> Faulty:
    fit(module, StageData(ROWS, [], lambda step: [0, 1, 2], 5))
    return module


def weights(module: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_bad_update_is_skipped_counted_and_written_down(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    module = sft((1,), kind=kind)
    seen: list[list[torch.Tensor]] = []
    right = module.learn

    def learn(step: Any) -> dict[str, float]:
        seen.append(weights(module))
        return right(step)

    module.learn = learn  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, logger="rlhf"):
        trained(module)
    assert module.step == 4 and module.train_metrics["train/skipped"] == 1
    changed = [any(not torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in pairwise(seen)]
    assert changed == [True, False, True], "the second update is not made, the third is"
    assert all(bool(torch.isfinite(p).all()) for p in module.parameters())
    (path,) = Path().glob("bad_batch-*.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (path.name, content["step"]) == ("bad_batch-00000002.json", 2)
    written = {row["row"]: row for micro in content["microbatches"] for row in micro["rows"]}
    assert written[11] == {"row": 11, "prompt": [3], "responses": [[2, 0]]} and written.keys() == {10, 11, 12}
    (record,) = caplog.records
    if kind == "loss":
        assert content["not_finite"]["loss"] == "nan"
        assert "step 2: loss is nan" in record.message and "rows 11 in bad_batch-00000002.json" in record.message
    else:
        assert list(content["not_finite"]) == ["grad_norm"]
        assert "rows 10, 11, 12 in" in record.message


def test_a_tensor_group_writes_its_rows_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As rank 0 of four processes, of which two and two split layers; the neighbour has the same rows."""
    module = sft(())
    module.config.strategy.tensor_parallel = 2
    monkeypatch.setattr(Faulty, "world_size", 4)
    monkeypatch.setattr(Faulty, "global_rank", 0)
    others = [{"rank": 1, "loss": "1.0", "rows": [{"row": 12}]}]

    def gather(found: list[Any], mine: list[Any]) -> None:
        found[:] = [mine, mine, others, others]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    assert (module.data_ranks, module.data_rank) == (2, 0)
    place = Place(1, tmp_path, 0, module.world_size, module.data_rank, 2)
    named = write_batch(tmp_path / "bad.json", place, {"loss": math.inf}, [(Micro(ROWS[:1]), torch.tensor(math.inf))])
    written = json.loads((tmp_path / "bad.json").read_text(encoding="utf-8"))
    assert [(micro["rank"], len(micro["rows"])) for micro in written["microbatches"]] == [(0, 1), (1, 1)]
    assert named == "10"
    monkeypatch.setattr(Faulty, "global_rank", 3)
    assert module.data_rank == 1


def test_too_many_in_a_row_stop_the_run() -> None:
    trained(sft((0, 1, 3), limit=3))
    module = sft((1, 2, 3), steps=9, limit=3)
    with pytest.raises(
        TrainingError, match=r"step 4: loss is nan.*rows 11 in bad_batch-00000004.json.*max_bad_steps=3"
    ):
        trained(module)
    assert module.step == 3
    with pytest.raises(TrainingError, match=r"step 1: .*max_bad_steps=1"):
        trained(sft((0,), limit=1))


def test_the_count_survives_a_resume() -> None:
    before, after = BadSteps(skipped=7, in_a_row=2), BadSteps()
    after.load_state_dict(before.state_dict())
    assert (after.skipped, after.in_a_row) == (7, 2)


def ppo(steps: int = 2, reward: Any = None, **algo: Any) -> PPOModule:
    world = make_world()
    policy = new_policy(value_head=True)
    config = TrainConfig(algo=PPOConfig(critic="shared", lr=0.05, epochs=2, minibatches=2, **algo))
    config.train.tokens_per_microbatch, config.rollout.max_new_tokens = 64, LONGEST
    module = PPOModule(config, steps, policy, None, world.reference, reward or world.reward, TorchSampler(policy, EOS))
    return module


def iterate(module: PPOModule) -> PPOModule:
    rows = [Row(prompt, index=i) for i, prompt in enumerate(PROMPTS)] * 4
    fit(module, StageData(rows, [], lambda step: list(range(8)), 64, whole=True))
    return module


def test_a_step_of_ppo_counts_once_however_many_updates_it_has() -> None:
    def broken(batch: Any) -> torch.Tensor:
        return make_world().reward(batch) * float("nan")

    module = ppo(steps=5, reward=broken, kl_controller="adaptive", kl_horizon=100)
    before, coefficient = weights(module), module.kl.value
    with pytest.raises(TrainingError, match=r"step 3: loss is nan"):
        iterate(module)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert module.bad_steps.skipped == 3 * 4
    assert module.kl.value != coefficient, "what was measured of the KL is sound"


def test_a_kl_above_the_limit_stops_ppo_before_it_learns() -> None:
    module = ppo(steps=5, kl_guard="stop", kl_limit=1e-3)
    with pytest.raises(TrainingError, match=r"step 2: the KL to the reference is .* above algo.kl_limit=0.001"):
        iterate(module)
    assert module.step == 1
    assert iterate(ppo(kl_guard="stop", kl_limit=1e3)).step == 2
    assert iterate(ppo(kl_guard="off", kl_limit=1e-3)).step == 2


def test_a_kl_above_the_limit_raises_the_coefficient() -> None:
    module = iterate(ppo(steps=3, kl_guard="raise", kl_limit=1e-3))
    assert module.kl.value == pytest.approx(0.05 * 1.5**2), (
        "not in the first iteration, where policy and reference agree"
    )
    assert iterate(ppo(steps=3, kl_guard="raise", kl_limit=1e3)).kl.value == 0.05
