"""DPO keeps no reference, and its samples have a KL all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf.data.rows import Row
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.evaluation.answers import response_logprobs
from rlhf.models.files.loading import load_policy

pytestmark = pytest.mark.ci


def lines(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "samples.jsonl").read_text(encoding="utf-8").splitlines()]


def test_it_is_measured_against_the_start(main: Any) -> None:
    assert main("algo=sft train.max_steps=2 hydra.run.dir=sft") == 0
    assert main("algo=dpo model.init=sft algo.lr=0.02 algo.beta=0.1 train.samples=8 hydra.run.dir=dpo") == 0
    samples = lines("dpo")
    assert all("ids" not in sample and "logprob" not in sample for sample in samples)
    kls = {step: [s["kl"] for s in samples if s["step"] == step] for step in (0, 6)}
    assert kls[0] == pytest.approx([0.0] * 8, abs=1e-3), "the policy is its reference"
    assert sum(kls[6]) / 8 > 0.1
    # Once more, from the export alone, for the answers whose text has the tokens that were drawn.
    template = template_for(load_tokenizer("auto", Path("sft", "model")))
    models = [load_policy(Path(run, "model"), {}, template.tokenizer, seed=0) for run in ("dpo", "sft")]
    checked = 0
    for sample in samples[-8:]:
        prompt = template.prompt(_prompt(sample)).ids
        tokens = tuple(template.response(sample["response"]))
        if sample["finished"] and len(tokens) == sample["tokens"]:
            with torch.no_grad():
                mine, theirs = (response_logprobs(model, [Row(prompt, (tokens,))])[0] for model in models)
            assert sample["kl"] == pytest.approx(mine - theirs, abs=2e-3)
            checked += 1
    assert checked or not any(sample["finished"] for sample in samples[-8:])


def test_no_kl_of_greedy_samples(main: Any) -> None:
    assert main("algo=sft train.max_steps=2 hydra.run.dir=sft") == 0
    assert main("algo=dpo model.init=sft rollout.temperature=0 hydra.run.dir=dpo") == 0
    assert all("kl" not in sample and "ids" not in sample for sample in lines("dpo"))


def _prompt(sample: dict[str, Any]) -> Any:
    from rlhf.data.records import Prompt

    return Prompt(tuple((role, text) for role, text in sample["prompt"]))
