"""A process reward model's loss and metrics by hand, however the batch is cut."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from closed_form import fit, new_critic

from lightning_modules.data import StageData
from lightning_modules.process_reward import ProcessRewardModule, prompt_shares
from lightning_modules.updates.micro_batches import Micro, cut
from rlhf.config import TrainConfig
from rlhf.config.algorithms.process_reward import ProcessRewardConfig
from rlhf.data.batch import collate
from rlhf.data.row import Row
from rlhf.evaluation.intervals import wilson

ROWS = [
    Row((1, 2), ((3, 1, 2, 0),), index=0, step_ends=((0, 3),), step_labels=((1.0, 0.0),)),
    Row((3,), ((2, 1, 1, 1, 0),), index=1, step_ends=((1, 2, 4),), step_labels=((0.0, 1.0, 0.25),)),
    Row((1, 2), ((0,),), index=2, step_ends=((0,),), step_labels=((1.0,),)),
]


def made(budget: int, steps: int = 2, **algo: Any) -> tuple[ProcessRewardModule, list[dict[str, float]]]:
    config = TrainConfig(algo=ProcessRewardConfig(**({"lr": 3e-2, "max_grad_norm": 1e9} | algo)))
    config.train.tokens_per_microbatch = budget
    module = ProcessRewardModule(config, steps, new_critic())
    seen: list[dict[str, float]] = []
    right = module.learn
    module.learn = lambda step: seen.append(right(step)) or {"tokens": 1.0}  # type: ignore[method-assign, func-returns-value]
    fit(module, StageData(ROWS, ROWS, lambda step: [0, 1, 2], budget))
    return module, seen


@torch.no_grad()
def logits() -> list[list[float]]:
    """Of every row's steps, each answer read alone up to where the step ends, by a model that hasn't learnt."""
    scorer = new_critic()
    found = []
    for row in ROWS:
        prefixes = [torch.tensor([[*row.prompt, *row.responses[0][: end + 1]]]) for end in row.step_ends[0]]
        states = [scorer.hf.base_model(input_ids=ids).last_hidden_state[0, -1] for ids in prefixes]
        found.append([scorer.hf.score(state).item() for state in states])
    return found


def entropy(logit: float, label: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -label * math.log(p) - (1 - label) * math.log(1 - p)


def test_the_loss_is_a_mean_over_the_steps_of_the_whole_batch() -> None:
    losses = [
        [entropy(z, y) for z, y in zip(read, row.step_labels[0], strict=True)]
        for read, row in zip(logits(), ROWS, strict=True)
    ]
    _, seen = made(10**6)
    assert seen[0]["loss"] == pytest.approx(sum(map(sum, losses)) / 6, abs=1e-5)
    _, last = made(10**6, train_on_last_step_only=True)
    assert last[0]["loss"] == pytest.approx(sum(steps[-1] for steps in losses) / 3, abs=1e-5)


@pytest.mark.parametrize("last", [False, True])
def test_the_token_budget_changes_nothing(last: bool) -> None:
    (whole, seen), (parts, cut_up) = (made(budget, train_on_last_step_only=last) for budget in (10**6, 8))
    for name in ("loss", "accuracy", "grad_norm"):
        assert [step[name] for step in cut_up] == pytest.approx([step[name] for step in seen], abs=1e-4)
    gradients = dict(parts.scorer.named_parameters())
    for name, parameter in whole.scorer.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_validation_by_hand() -> None:
    config = TrainConfig(algo=ProcessRewardConfig())
    module = ProcessRewardModule(config, 1, new_critic())
    module._shares = prompt_shares(ROWS)
    right = [
        [(z > 0) == (y >= 0.5) for z, y in zip(read, row.step_labels[0], strict=True)]
        for read, row in zip(logits(), ROWS, strict=True)
    ]
    said = [next((i for i, z in enumerate(read) if z < 0), None) for read in logits()]
    known = [1, 0, None]
    for budget in (10**6, 8):
        module.on_validation_epoch_start()
        with torch.no_grad():
            for number, micro in enumerate([*cut(ROWS, budget), Micro(ROWS[:1], live=False)]):
                module.validation_step(micro, number)
        found = module.finish_validation(module._val.reduce(lambda x: x))
        accuracy = sum(map(sum, right)) / 6
        assert found["accuracy"] == pytest.approx(accuracy)
        # The prompt of two answers counts once.
        assert (found["prompts"], found["steps"]) == (2, 6)
        assert (found["accuracy_low"], found["accuracy_high"]) == pytest.approx(wilson(accuracy * 2, 2))
        assert found["first_wrong_accuracy"] == pytest.approx(sum(a == b for a, b in zip(said, known, strict=True)) / 3)
        assert found["commoner_share"] == 0.5
        kinds = {"right": [right[0][0], right[1][1], right[2][0]], "wrong": [right[0][1], right[1][0], right[1][2]]}
        for name, steps in kinds.items():
            assert found[f"{name}_accuracy"] == pytest.approx(sum(steps) / 3)


def test_a_model_that_can_not_tell_is_right_half_of_the_time() -> None:
    module = ProcessRewardModule(TrainConfig(algo=ProcessRewardConfig()), 1, new_critic())
    module.scorer.hf.score.weight.data.zero_()
    module._shares = prompt_shares(ROWS)
    assert float(module.measure(collate(ROWS)).reduce(lambda x: x)["accuracy"]) == 0.5


def test_what_the_export_says() -> None:
    scorer = new_critic()
    scorer.reward_mean = 3.0
    module = ProcessRewardModule(TrainConfig(algo=ProcessRewardConfig(step_separator=r"\n\n")), 1, scorer)
    assert module.exported().hf.config.step_separator == "\n\n" and module.exported().reward_mean == 0
