"""Sums of named sources, and their shaping, in the world where everything is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from closed_form import EOS, LONGEST, PROMPTS, fit, make_world, new_policy
from torch import Tensor

from lightning_modules.data import StageData
from lightning_modules.on_policy.score_shaping import ScoreShaping
from lightning_modules.ppo import PPOModule
from rlhf.config import PPOConfig, ScoringConfig, TrainConfig
from rlhf.data.batch import Batch, collate
from rlhf.data.records import Prompt
from rlhf.data.rows import Row
from rlhf.errors import TrainingError
from rlhf.rewards.sources import Rewards
from rlhf.rollout.episodes import Episodes
from rlhf.rollout.sampling import Completion
from rlhf.rollout.torch_sampler import TorchSampler

SOURCES = [Prompt((("user", f"prompt {i}"),), fields={"number": i}) for i in range(2)]
RESPONSES = [(1, 2, EOS), (2, 2, 2, 2), (3, EOS), (1, EOS)]


def text_of(tokens: Sequence[int]) -> str:
    return " ".join(map(str, tokens))


def length(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
    """Tokens of a completion, and a hundred times the number that came with its prompt."""
    return [
        len(said.split()) + 100.0 * prompt.fields["number"] for prompt, said in zip(prompts, completions, strict=True)
    ]


def unsure(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
    return [4.0, None, 8.0, None]


def by_length(batch: Batch) -> Tensor:
    return torch.tensor([float(n) for lengths in batch.response_lengths for n in lengths])


def episodes() -> Episodes:
    """Two samples of each of two prompts."""
    drawn = [
        Completion(i // 2, i % 2, tokens, (0.0,) * len(tokens), tokens[-1] == EOS) for i, tokens in enumerate(RESPONSES)
    ]
    return Episodes.of([(1,), (2,)], drawn, torch.device("cpu"), SOURCES)


def alone(x: Tensor) -> Tensor:
    return x


def shaped(rewards: Rewards, scoring: ScoringConfig | None = None, **algo: Any) -> Episodes:
    found = episodes()
    for name, scores in rewards.of_batch(collate(found.rows)).items():
        found.put(name, collate(found.rows), scores)
    ScoreShaping(PPOConfig(**algo), scoring or ScoringConfig(), rewards).finish(found, alone, learns=True)
    return found


def test_a_weighted_sum_with_every_part_by_name() -> None:
    rewards = Rewards([by_length], {"length": length}, weights={"length": 0.5}, text_of=text_of)
    found = shaped(rewards, missing_eos_penalty=10.0)
    # Lengths 3, 4, 2, 2; the second prompt's number adds 100 before the weight.
    assert found.components["model"].tolist() == [3.0, 4.0, 2.0, 2.0]
    assert found.components["length"].tolist() == [3.0, 4.0, 102.0, 102.0]
    assert found.scores.tolist() == [4.5, 6.0, 53.0, 53.0]
    assert found.shaped_scores.tolist() == [4.5, -4.0, 53.0, 53.0]


def test_an_ensemble_shows_members_and_disagreement() -> None:
    rewards = Rewards([by_length, lambda batch: 3 * by_length(batch)], combine="min")
    found = shaped(rewards, missing_eos_penalty=0.0)
    assert found.scores.tolist() == [3.0, 4.0, 2.0, 2.0]
    assert set(found.components) == {"model", "model_0", "model_1", "model_std"}
    assert found.components["model_std"].tolist() == [3.0, 4.0, 2.0, 2.0]  # half of the difference


def test_a_single_model_is_the_score_and_no_part() -> None:
    found = shaped(Rewards([by_length]), missing_eos_penalty=0.0)
    assert found.components == {} and found.scores.tolist() == found.shaped_scores.tolist() == [3.0, 4.0, 2.0, 2.0]


def test_shaping_terms_come_after_normalisation_and_clip() -> None:
    scoring = ScoringConfig(
        normalise="whiten",
        length_penalty=0.5,
        length_target=2,
        repetition_penalty=3.0,
        diversity_bonus=2.0,
        ngram=1,
    )
    found = shaped(Rewards([by_length]), scoring, missing_eos_penalty=1.0, score_clip=0.5)
    # Mean 2.75, variance (0.0625 + 1.5625 + 2 · 0.5625)/4 = 0.6875: whitened 0.30, 1.51 → 0.5, −0.90 → −0.5, −0.5.
    whitened = torch.tensor([0.25 / 0.6875**0.5, 0.5, -0.5, -0.5])
    assert found.components["length"].tolist() == [-0.5, -1.0, 0.0, 0.0]
    # 2 2 2 2: three of four tokens are repeated. 1 2 against 2: one of two shared; 3 against 1: none.
    assert found.components["repetition"].tolist() == [0.0, -2.25, 0.0, 0.0]
    assert found.components["diversity"].tolist() == [1.0, 1.0, 2.0, 2.0]
    penalty = torch.tensor([0.0, 1.0, 0.0, 0.0])
    terms = sum(found.components[name] for name in ("length", "repetition", "diversity"))
    torch.testing.assert_close(found.shaped_scores, whitened - penalty + terms)
    assert found.scores.tolist() == [3.0, 4.0, 2.0, 2.0]


def test_validation_leaves_the_statistics_as_they_are() -> None:
    shaping = ScoreShaping(
        PPOConfig(), ScoringConfig(normalise="scale"), Rewards(texts={"length": length}, text_of=text_of)
    )
    shaping.finish(episodes(), alone, learns=False)
    assert shaping.moments.count == 0
    shaping.finish(episodes(), alone, learns=True)
    before = shaping.state_dict()
    shaping.finish(episodes(), alone, learns=False)
    assert shaping.state_dict() == before and before["count"] == 4


def test_no_opinion_counts_as_the_mean_of_the_others_over_ranks() -> None:
    found = episodes()
    rewards = Rewards(texts={"judge": unsure}, text_of=text_of)
    # The other rank has two opinions that sum to 6 and one missing: the mean of all four is 18/4.
    shaping = ScoreShaping(PPOConfig(), ScoringConfig(), rewards)
    shaping.finish(found, lambda sent: sent + torch.tensor([2.0, 6.0, 1.0], dtype=torch.float64), learns=True)
    assert found.scores.tolist() == [4.0, 4.5, 8.0, 4.5]
    assert found.components["judge_missing"].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_a_judge_without_any_opinion_stops_the_run() -> None:
    rewards = Rewards(texts={"judge": lambda prompts, completions: [None] * len(prompts)}, text_of=text_of)
    with pytest.raises(TrainingError, match=r"^reward\.sources: judge"):
        shaped(rewards)


def test_rows_without_their_prompts_can_not_be_read() -> None:
    with pytest.raises(ValueError, match=r"Row\.source"):
        Rewards(texts={"length": length}, text_of=text_of).of_rows([Row((1,), ((2,),))])


def learned(tokens_per_microbatch: int, rewards: Rewards, steps: int = 2, **scoring: Any) -> PPOModule:
    world = make_world()
    policy = new_policy(value_head=True)
    config = TrainConfig(
        algo=PPOConfig(critic="shared", lr=1e-3, samples_per_prompt=2), reward=ScoringConfig(**scoring)
    )
    config.train.tokens_per_microbatch, config.rollout.max_new_tokens = tokens_per_microbatch, LONGEST
    module = PPOModule(config, steps, policy, None, world.reference, rewards, TorchSampler(policy, EOS))
    rows = [
        Row(prompt, index=i, source=source) for i, (prompt, source) in enumerate(zip(PROMPTS, SOURCES, strict=True))
    ]
    fit(module, StageData(rows * 4, [], lambda step: list(range(8)), 64, whole=True))
    return module


SHAPED: dict[str, Any] = {"normalise": "whiten", "repetition_penalty": 0.5, "diversity_bonus": 0.5, "ngram": 1}


def test_micro_batches_change_nothing() -> None:
    def rewards() -> Rewards:
        world = make_world()
        return Rewards(
            [world.reward, lambda b: -world.reward(b)],
            {"length": length},
            combine="deviation",
            coef=0.3,
            text_of=text_of,
        )

    one, many = learned(10**4, rewards(), **SHAPED), learned(16, rewards(), **SHAPED)
    for name, value in one.train_metrics.items():
        if not name.startswith(("time/", "train/seconds", "train/tokens_per")):
            assert many.train_metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    assert {"objective/reward/length", "objective/reward/model_1", "objective/reward/diversity"} <= set(
        one.train_metrics
    )


def test_statistics_are_saved_and_come_back() -> None:
    rewards = Rewards(texts={"length": length}, text_of=text_of)
    first, second = learned(10**4, rewards, **SHAPED), learned(10**4, rewards, 1, **SHAPED)
    assert first.shaping.moments.count == 2 * second.shaping.moments.count == 32
    second.load_full_state(first.full_state())
    assert second.shaping.state_dict() == first.shaping.state_dict()


def test_functions_alone_hold_no_model() -> None:
    module = learned(10**4, Rewards(texts={"length": length}, text_of=text_of), 1)
    assert set(module.frozen()) == {"reference"}
    assert module.train_metrics["objective/reward/length"] == module.train_metrics["objective/score"]
