"""The order of steps, the search for a micro-batch, the refusal of different losses; with workers that only count."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmarks.agreement import disagreements
from benchmarks.measure import Bench, Disagreement, best_micro_batch, compare_losses, one_block, preparation
from benchmarks.peers import Peer, Setting
from benchmarks.processes import Worker, WorkerError


class Counting:
    """A worker that notes when it is called; `seconds` are its answers, one after another."""

    def __init__(self, name: str, calls: list[Any], seconds: list[float], **facts: Any) -> None:
        self.name, self.calls, self.seconds = name, calls, list(seconds)
        self.facts = {"prepares": False} | facts

    def go(self, **order: Any) -> dict[str, Any]:
        self.calls.append((self.name, order))
        return {"seconds": self.seconds.pop(0), "responses": [f"drawn by {self.name}"]}


def bench(stage: str = "dpo", batch: int = 8, **options: Any) -> Bench:
    return Bench(stage, {}, {"critic": "separate"} | options, batch, 3, 1, Path(), say=lambda _: None)


def test_sides_alternate_and_the_first_responses_are_shared() -> None:
    calls: list[Any] = []
    workers: dict[str, Any] = {name: Counting(name, calls, [1.0] * 3) for name in ("ours", "peer")}
    for number in range(3):
        one_block(bench("ppo"), workers, number)
    assert [name for name, _ in calls] == ["peer", "ours", "ours", "peer", "peer", "ours"]
    assert [order for name, order in calls if name == "ours"] == [{"responses": ["drawn by peer"]}, {}, {}]
    assert all(order == {} for name, order in calls if name == "peer")


def test_a_preparation_is_shared_by_all_steps() -> None:
    worker: Any = Counting("ours", [], [6.0, 1.0], prepares=True)
    assert preparation(worker, 4) == 1.5
    worker = Counting("peer", [], [6.0])
    assert preparation(worker, 4) == 0 and worker.calls == []


def test_the_fastest_micro_batch_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its step after the warm-up and its share of the preparation; one that runs out of memory does not count."""
    seconds = {4: [8.0, 0.1, 4.0], 2: [2.0, 9.0, 5.0], 1: [0.0, 0.1, 7.0]}
    tried = []

    def worker(self: Bench, python: str, module: str, name: str, steps: int, **options: Any) -> Any:
        tried.append(options["micro_batch"])
        if options["micro_batch"] == 8:
            raise WorkerError("killed")
        return nullcontext(Counting(name, [], seconds[options["micro_batch"]], prepares=True))

    monkeypatch.setattr(Bench, "worker", worker)
    peer = Peer("module", {})
    assert best_micro_batch(bench(), peer, Setting(tuned=True), "python") == 2
    assert tried == [8, 4, 2, 1]
    assert best_micro_batch(bench(), peer, Setting(), "python") == 8, "as it comes"
    assert best_micro_batch(bench(batch=4), peer, Setting(), "python") == 4, "no more than there are examples"


def answered(ours: dict[str, float], peer: dict[str, float]) -> dict[str, Any]:
    """A step of two responses with 4 tokens in all."""
    return {"ours": {"checks": ours}, "peer": {"checks": peer, "responses": [[[5, 6, 7], False], [[8], True]]}}


def test_different_losses_end_the_comparison() -> None:
    same, other = answered({"loss": 0.7}, {"loss": 0.7}), answered({"loss": 0.7}, {"loss": 0.71})
    compare_losses(bench(), [same, same, same])
    with pytest.raises(Disagreement, match=r"step 2: loss is 0\.7 on our side, 0\.71 on the peer's"):
        compare_losses(bench(), [same, other, same])


def of_ppo(**ours: float) -> dict[str, Any]:
    """Values of an iteration that agree, but for those given."""
    same = {"reward": 1.0, "policy_loss": 0.1, "value_loss": 3.0}
    whitened = {"policy_loss": 0.1 * math.sqrt(4 / 3)}
    return answered(same | whitened | ours, same)


def test_of_ppo_only_the_step_with_the_same_responses_is_compared() -> None:
    compare_losses(bench("ppo"), [of_ppo(), of_ppo(reward=2.0)])
    with pytest.raises(Disagreement, match="reward"):
        compare_losses(bench("ppo"), [of_ppo(reward=2.0), of_ppo()])


def test_advantages_are_whitened_by_n_on_our_side() -> None:
    with pytest.raises(Disagreement, match="policy_loss"):
        compare_losses(bench("ppo"), [of_ppo(policy_loss=0.1)])


def test_a_shared_critic_has_other_values() -> None:
    compare_losses(bench("ppo", critic="shared"), [of_ppo(value_loss=4.0, policy_loss=1.0)])
    with pytest.raises(Disagreement, match="value_loss"):
        compare_losses(bench("ppo"), [of_ppo(value_loss=4.0)])
    with pytest.raises(Disagreement, match="reward"):
        compare_losses(bench("ppo", critic="shared"), [of_ppo(reward=4.0)])


@pytest.mark.parametrize(
    ("name", "ours", "peer", "agree"),
    [
        ("loss", 0.69315, 0.69318, True),
        ("loss", 0.69315, 0.69335, False),
        ("chosen_logprob", -400.0, -400.03, True),
        ("chosen_logprob", -400.0, -400.1, False),
        ("margin", 0.0100, 0.0103, True),
        ("margin", 0.0100, 0.0110, False),
        ("loss", float("nan"), float("nan"), False),
    ],
)
def test_tolerances(name: str, ours: float, peer: float, agree: bool) -> None:
    assert (disagreements([{name: ours}], [{name: peer}]) == []) is agree


def test_a_worker_that_dies_is_quoted(tmp_path: Path) -> None:
    import sys

    with pytest.raises(WorkerError, match="No module named"):
        Worker(sys.executable, "benchmarks.workers.nobody", {}, 1, tmp_path / "log")
