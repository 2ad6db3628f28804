"""Useful arithmetic, against counts by hand and against PyTorch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel

from rlhf.capacity.flops import TRAIN_ADAPTER, Shape, forward, shape_of, useful
from rlhf.config import PPOConfig, algorithms

SHAPE = Shape(weights=10, layers=3, width=2, vocabulary=7)


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
    shape = shape_of(model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.arange(9)[None])
    unread = 9 * 9 - 9 * 10 / 2
    assert counter.get_total_flops() == forward(shape, 0, [9], logits=True) + 4 * shape.layers * shape.width * unread


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("sft", {"learning": 3 * (100 + 312 + 84)}),
        ("reward", {"learning": 3 * (100 + 312)}),
        ("dpo", {"preparation": 496, "learning": 3 * 496}),
        ("simpo", {"learning": 3 * 496}),
        ("kto", {"preparation": 496, "learning": (3 + 1) * 496}),
    ],
)
def test_steps_by_hand(stage: str, expected: dict[str, float]) -> None:
    assert useful(algorithms()[stage](), SHAPE, 2, [1, 2]) == expected


def test_frozen_weights_need_no_gradients_of_their_own() -> None:
    assert useful(algorithms()["sft"](), SHAPE, 2, [1, 2], train=TRAIN_ADAPTER) == {"learning": 2 * 496}


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_an_iteration_of_ppo_by_hand(critic: str) -> None:
    """Sampling once; policy, reference, reward model and critic score; 4 epochs of policy and critic."""
    scalar = 2 * 10 * 3 + 24 * (1 + 2 + 3)
    policy = scalar + 2 * 2 * 7
    own = scalar if critic == "separate" else 0
    assert useful(PPOConfig(critic=critic), SHAPE, 2, [1], epochs=4) == {
        "sampling": policy,
        "scoring": 2 * policy + scalar + own,
        "learning": 4 * 3 * (policy + own),
    }


def test_without_a_reference_the_policy_alone_reads_the_samples() -> None:
    options = {"kl_coef": 0.0, "critic": "shared"}
    whole, without = (useful(PPOConfig(**options, reference=kept), SHAPE, 2, [1]) for kept in (True, False))  # type: ignore[arg-type]
    assert whole["scoring"] - without["scoring"] == whole["sampling"]


def test_raft_learns_from_one_of_its_samples() -> None:
    """Responses of 2 tokens: three are sampled and scored by policy, reference and reward model, one is learnt."""
    found = useful(algorithms()["raft"](), SHAPE, 2, [2, 2, 2], epochs=5)
    # Reads 1 + 2, and 3 + 4 for each response; 24 operations for each.
    scalar, one = 2 * 10 * 8 + 24 * (3 + 3 * 7), 2 * 10 * 4 + 24 * (3 + 7) + 2 * 2 * 7 * 2
    policy = scalar + 2 * 2 * 7 * 6
    assert found == {"sampling": policy, "scoring": 2 * policy + scalar, "learning": 5 * 3 * one}


@pytest.mark.parametrize("models", [0, 3])
def test_each_reward_model_reads_a_response_once(models: int) -> None:
    scalar = 2 * 10 * 3 + 24 * (1 + 2 + 3)
    one, found = (useful(PPOConfig(), SHAPE, 2, [1], reward_models=n)["scoring"] for n in (1, models))
    assert found == one + (models - 1) * scalar
