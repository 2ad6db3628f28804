"""rollout=vllm, for real: in an environment that has vLLM, which `tests/integration/vllm.sh` makes."""

from __future__ import annotations

import csv
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from launch.composition.compose import CONF
from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.models.files.loading import load_policy
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.vllm_sampler import VLLMSampler

pytestmark = pytest.mark.skipif(
    find_spec("vllm") is None, reason="vLLM is not installed; tests/integration/vllm.sh makes an environment with it"
)
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["tiny", "gpt2"])
def test_samples_follow_the_weights(name: str) -> None:
    """Greedy answers and their log-probabilities are the policy's own, before and after its weights change."""
    model: Any = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    model = model.get("model", model)
    tokenizer = load_tokenizer(model["tokenizer"])
    policy = load_policy(None, model["architecture"], tokenizer, seed=1)
    sampler = VLLMSampler(policy, tokenizer.eos_id, max_length=64, max_rows=8)
    requests = [Request(i, tuple(range(5 + i, 15 + i))) for i in range(3)]
    before = None
    for round in range(2):
        for temperature in (0.0, 1.0):
            sampling = Sampling(12, temperature=temperature, samples_per_prompt=2)
            found = sampler.sample(requests, sampling, seed=1, iteration=round)
            assert [(c.request, c.sample) for c in found] == [(i, k) for i in range(3) for k in range(2)]
            rows = [Row(requests[c.request].tokens, (c.tokens,)) for c in found]
            with torch.no_grad():
                parts: list[Any] = [policy(collate([row])).logprobs for row in rows]
            if temperature:
                expected = torch.cat(parts).tolist()
                assert [x for c in found for x in c.logprobs] == pytest.approx(expected, abs=2e-3)
                assert found[0].tokens != found[1].tokens
                again = sampler.sample(requests, sampling, seed=1, iteration=round)
                assert [c.tokens for c in again] == [c.tokens for c in found]
            else:
                assert found[0].tokens == found[1].tokens
                greedy = [c.tokens for c in found]
        assert greedy != before
        before = greedy
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(torch.randn_like(parameter) * parameter.std().nan_to_num() * 0.5)


def run(*overrides: str, folder: Path) -> Path:
    command = [sys.executable, str(ROOT / "train.py"), "logger=csv", *overrides]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return max((folder / "outputs").glob("*/*/*/summary.json"), key=lambda p: p.stat().st_mtime).parent


def test_a_ppo_run(tmp_path: Path) -> None:
    """Two iterations: the second samples from pushed weights; the recomputed ratio is 1 before the first update."""
    short = ["train.max_steps=2", "train.val_every=null", "model=tiny"]
    sft = run("algo=pretrain", *short, folder=tmp_path)
    reward = run("algo=reward", f"model.init={sft}", *short, folder=tmp_path)
    ppo = run(
        "algo=ppo", "rollout=vllm", f"model.init={sft}", f"algo.reward_model={reward}", "algo.epochs=1",
        "algo.minibatches=1", "train.batch_size=8", "rollout.max_new_tokens=8", *short, folder=tmp_path,
    )  # fmt: skip
    with (ppo / "metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("policy/ratio")]
    assert len(rows) == 2
    assert all(float(row["policy/ratio"]) == pytest.approx(1, abs=1e-3) for row in rows)
