"""Our worker end to end, on a model of a few thousand weights."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

pytestmark = pytest.mark.ci

OURS = (sys.executable, "benchmarks.workers.ours", "ours", 2)


@torch.no_grad()
def nll(bench: Any, examples: list[dict[str, Any]]) -> float:
    """Mean −log p of the response tokens, by `transformers` alone."""
    model = AutoModelForCausalLM.from_pretrained(bench.task["model"])
    losses = []
    for example in examples:
        (response,) = example["responses"]
        ids = torch.tensor([example["prompt"] + response])
        logprobs = torch.log_softmax(model(input_ids=ids).logits[0], -1)
        losses += [-logprobs[len(example["prompt"]) + i - 1, token] for i, token in enumerate(response)]
    return float(torch.stack(losses).mean())


def test_sft(bench_of: Any) -> None:
    bench = bench_of("sft")
    with bench.worker(*OURS) as worker:
        assert not worker.facts["prepares"]
        first, second = worker.go(), worker.go()
    # The examples of each step, in the order in which they were given.
    assert first["checks"]["loss"] == pytest.approx(nll(bench, bench.task["examples"][:2]), rel=1e-5)
    unchanged = nll(bench, bench.task["examples"][2:])
    assert 1e-6 < abs(second["checks"]["loss"] / unchanged - 1) < 1e-2, "after one small update"
    assert 0 < first["seconds"] < 60 and 50e6 < first["peak_memory_bytes"] <= second["peak_memory_bytes"] < 4e9


def test_dpo_times_its_reference_pass_apart(bench_of: Any) -> None:
    with bench_of("dpo").worker(*OURS) as worker:
        assert worker.facts["prepares"]
        reference, first, second = worker.go(), worker.go(), worker.go()
    assert "checks" not in reference and reference["seconds"] > 0
    assert first["checks"]["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert abs(second["checks"]["margin"]) > 1e-4, "the policy has left its reference"


def test_ppo_takes_the_responses_that_it_is_given(bench_of: Any) -> None:
    """The same responses give the same numbers again, its own give others."""
    bench, given = bench_of("ppo"), [[[3, 4, 5], False], [[6, 7], False]]
    found = []
    for responses in (given, given, None):
        with bench.worker(*OURS) as worker:
            found.append(worker.go(**({"responses": responses} if responses else {}))["checks"])
    assert found[0] == found[1] != found[2]
    assert set(found[0]) == {"reward", "policy_loss", "value_loss"}


def test_reward(bench_of: Any) -> None:
    """Loss and margin of the first step, by `transformers` alone."""
    bench = bench_of("reward")
    with bench.worker(*OURS) as worker:
        checks = worker.go()["checks"]
    model = AutoModelForSequenceClassification.from_pretrained(bench.task["model"])
    margins = []
    for example in bench.task["examples"][:2]:
        with torch.no_grad():
            chosen, rejected = (
                model(input_ids=torch.tensor([[*example["prompt"], *response]])).logits.item()
                for response in example["responses"]
            )
        margins.append(chosen - rejected)
    assert checks["margin"] == pytest.approx(sum(margins) / 2, rel=1e-3, abs=1e-6)
    assert checks["loss"] == pytest.approx(sum(math.log1p(math.exp(-margin)) for margin in margins) / 2, rel=1e-5)
