"""Weights and examples that both sides share, made once in a process of its own, so that the benchmark stays small."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from launch.composition.compose import load
from rlhf.capacity.flops import shape_of
from rlhf.config import DataConfig, algorithms
from rlhf.data.rows import Row, make_rows
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy, load_scorer
from rlhf.quiet import quiet_libraries
from verbs.datasets import load_data


def prepare(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Model folders, examples as ids, and the sizes that the arithmetic depends on.

    Args:
        request: `stage`, `model` (a name in conf/model), `sizes` (that replace those of its architecture), `seed`,
            `count` of examples, `max_length`, `new_tokens`, and `data`, a file, or `lengths` of synthetic examples:
            [prompt, response, …]. Further, where they are given: `tokenizer` in the place of the model's, `device` on
            which a policy's weights are drawn, and `dtype` in which they are written.
    """
    quiet_libraries()
    model = load([f"model={request['model']}"]).model
    tokenizer = load_tokenizer(request.get("tokenizer", model.tokenizer), None)
    architecture = dict(model.architecture) | request["sizes"]
    stage, seed = request["stage"], request["seed"]
    task: dict[str, Any] = {"model": str(folder / "model")}
    with torch.device(request.get("device", "cpu")):
        policy = load_policy(None, architecture, tokenizer, seed=seed)
    export(policy.to(getattr(torch, request.get("dtype", "float32"))), tokenizer, folder / "model")
    task["shape"] = asdict(shape_of(policy.hf))
    algorithm = algorithms()[stage]
    if algorithm.exports == "scorer" or algorithm.needs_reward:
        scorer = load_scorer(task["model"], {}, tokenizer, seed=seed)
        export(scorer, tokenizer, folder / "scorer")
        task |= {"reward_model" if algorithm.needs_reward else "model": str(folder / "scorer")}
    make = synthetic if request["data"] is None else from_file
    task["examples"] = [{"prompt": row.prompt, "responses": row.responses} for row in make(request, tokenizer)]
    return task


def from_file(request: dict[str, Any], tokenizer: Tokenizer) -> list[Row]:
    """A random sample of a file, so that lengths are those of the data; ours and the peer see it in this order."""
    kind = algorithms()[request["stage"]].learns_from
    data = DataConfig(source="file", path=request["data"], val_fraction=0.0, test_fraction=0.0, on_error="skip")
    room = request["max_length"] - (request["new_tokens"] if kind == "prompts" else 0)
    rows, _ = make_rows(load_data(data, kind).train, kind, template_for(tokenizer), room)
    order = np.random.default_rng(request["seed"]).permutation(len(rows))
    count = request["count"]
    return [rows[i] for i in np.resize(order, math.ceil(count / len(order)) * len(order))[:count]]


def synthetic(request: dict[str, Any], tokenizer: Tokenizer) -> list[Row]:
    """Random ids of exactly these lengths, to see what a length costs; end-of-text, the last id, is left out."""
    draw = np.random.default_rng(request["seed"])
    rows = []
    for _ in range(request["count"]):
        prompt, *responses = (
            tuple(draw.integers(tokenizer.vocab_size - 1, size=n).tolist()) for n in request["lengths"]
        )
        rows.append(Row(prompt, tuple(responses)))
    return rows


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    print(json.dumps(prepare(asked, Path(asked["folder"]))))
