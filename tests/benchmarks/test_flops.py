"""Useful arithmetic, against counts by hand and against PyTorch's own counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.flops import Shape, forward, useful
from benchmarks.prepare import shape_of

SHAPE = Shape(weights=10, layers=3, width=2, vocabulary=7)
EXAMPLE = {"prompt": [0, 0], "responses": [[0], [0, 0]]}
OPTIONS = {"new_tokens": 1, "critic": "separate", "epochs": 4}


def test_a_forward_pass_by_hand() -> None:
    """Prompt of 2, responses of 1 and 2: 5 tokens; reads 1 + 2, then 3, then 3 + 4; 3 scored tokens."""
    matrices = 2 * 10 * 5
    attention = 2 * 2 * 3 * 2 * (1 + 2 + 3 + 3 + 4)
    output = 2 * 2 * 7 * 3
    assert forward(SHAPE, 2, [1, 2], logits=True) == matrices + attention + output
    assert forward(SHAPE, 2, [1, 2], logits=False) == matrices + attention


def test_a_forward_pass_of_one_sequence_is_what_pytorch_counts() -> None:
    """But for attention, whose unneeded half PyTorch computes and counts, and for logits of the prompt."""
    model = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=16, n_embd=8, n_layer=3, n_head=2)).eval()
    model.set_attn_implementation("eager")
    shape = Shape(**shape_of(model))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.arange(9)[None])
    unread = 9 * 9 - 9 * 10 / 2
    assert counter.get_total_flops() == forward(shape, 0, [9], logits=True) + 4 * shape.layers * shape.width * unread


@pytest.mark.parametrize(
    ("stage", "preparation", "step"),
    [("sft", 0, 3 * (100 + 312 + 84)), ("reward", 0, 3 * (100 + 312)), ("dpo", 496, 3 * 496)],
)
def test_steps_by_hand(stage: str, preparation: float, step: float) -> None:
    assert useful(stage, SHAPE, EXAMPLE, OPTIONS) == {"preparation": preparation, "step": step}


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_an_iteration_of_ppo_by_hand(critic: str) -> None:
    """Sampling once; policy, reference, reward model and critic score; 4 epochs of policy and critic."""
    scalar = 2 * 10 * 3 + 24 * (1 + 2 + 3)
    policy = scalar + 2 * 2 * 7
    own = scalar if critic == "separate" else 0
    expected = policy + (2 * policy + scalar + own) + 4 * 3 * (policy + own)
    example: dict[str, Any] = {"prompt": [0, 0], "responses": []}
    assert useful("ppo", SHAPE, example, OPTIONS | {"critic": critic}) == {"preparation": 0.0, "step": expected}
