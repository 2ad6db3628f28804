"""What holds of every on-policy algorithm: micro-batches don't matter, options are heard, and what each adds."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from closed_form import EOS, LONGEST, PROMPTS, fit, make_world, new_critic, new_policy

from lightning_modules.data import StageData
from lightning_modules.on_policy.flow import OnPolicyModule
from rlhf.config import OnPolicyConfig, PPOConfig, ScoringConfig, TrainConfig, algorithms
from rlhf.data.batch import Batch
from rlhf.data.rows import Row
from rlhf.models.language import halve
from rlhf.objectives.shaping import later_kl_rewards, shaped_rewards
from rlhf.rollout.torch_sampler import TorchSampler
from verbs.train.build import module_class

EPISODES = 24


def built(
    algo: OnPolicyConfig,
    budget: int = 10**6,
    reward: Any = None,
    steps: int = 1,
    scoring: ScoringConfig | None = None,
) -> OnPolicyModule:
    """A module in the closed-form world."""
    world = make_world()
    policy = new_policy(value_head=algo.value_model() == "shared")
    config = TrainConfig(algo=algo, reward=scoring or ScoringConfig())
    config.rollout.max_new_tokens, config.train.tokens_per_microbatch = LONGEST, budget
    config.train.batch_size = EPISODES
    critic = {"none": {}, "shared": {"critic": None}, "separate": {"critic": new_critic()}}[algo.value_model()]
    made: Any = module_class(algo)
    module: OnPolicyModule = made(
        config,
        steps,
        policy=policy,
        reference=world.reference if algo.keeps_reference() else None,
        reward=reward or world.reward,
        sampler=TorchSampler(policy, EOS),
        **critic,
    )
    return module


def trained(algo: OnPolicyConfig, budget: int = 10**6, reward: Any = None, steps: int = 1, **others: Any) -> Any:
    """The module after a step or two."""
    module = built(algo, budget, reward, steps, **others)
    rows = [Row(PROMPTS[i % 2], index=i) for i in range(algo.rows_a_step(EPISODES))]
    fit(module, StageData(rows, [], lambda step: range(len(rows)), budget, whole=True))
    return module


def made(name: str, **changes: Any) -> OnPolicyConfig:
    algo: Any = algorithms()[name]
    found: OnPolicyConfig = algo(**{"lr": 1e-3, "epochs": 2, "minibatches": 2, "samples_per_prompt": 3} | changes)
    return found


def weights(module: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.policy.hf.parameters()])


METHODS = [
    ("rloo", {}),
    ("rloo", {"kl_in": "loss", "entropy_coef": 0.1}),
    *(("grpo", {"variant": variant}) for variant in ("grpo", "dr_grpo", "bnpo", "cispo", "gspo")),
    ("grpo", {"variant": "dapo", "scale_rewards": "batch"}),
    *(("reinforce", {"variant": variant}) for variant in ("plus_plus", "plus_plus_baseline", "remax")),
    *(("online-dpo", {"labels": labels}) for labels in ("hard", "soft")),
    ("raft", {"kl_coef": 0.1, "entropy_coef": 0.01}),
    ("ppo", {"aggregate": "sequence", "critic": "shared", "kl_in": "loss", "dual_clip": 3.0}),
]


@pytest.mark.parametrize(
    ("name", "changes"), METHODS, ids=lambda x: x if isinstance(x, str) else "-".join(map(str, x.values()))
)
def test_the_cut_into_micro_batches_does_not_matter(name: str, changes: dict[str, Any]) -> None:
    algo = made(name, **changes)
    whole, cut = trained(algo), trained(algo, budget=16)
    torch.testing.assert_close(weights(whole), weights(cut), atol=2e-5, rtol=0)
    assert (weights(whole) - weights(built(algo))).abs().max() > 1e-4
    assert whole.train_metrics["objective/score"] == pytest.approx(cut.train_metrics["objective/score"])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ppo", {"clip_epsilon_high": 0.01}),
        ("ppo", {"aggregate": "sequence"}),
        ("ppo", {"kl_in": "loss", "kl_estimator": "k2", "kl_coef": 1.0}),
        ("rloo", {"clip_epsilon_high": 0.01}),
        ("rloo", {"clip_epsilon": None}),
        ("grpo", {"kl_estimator": "weighted_k3", "kl_coef": 1.0}),
        ("grpo", {"kl_in": "reward", "kl_coef": 1.0}),
        ("grpo", {"scale_rewards": "batch"}),
        ("grpo", {"aggregate": "token"}),
        ("grpo", {"overlong_buffer": 2}),
        ("grpo", {"dual_clip": 1.01}),
        ("online-dpo", {"labels": "soft"}),
        ("online-dpo", {"loss": "hinge"}),
        ("online-dpo", {"kl_coef": 0.5}),
        ("raft", {"missing_eos_penalty": 50.0}),
    ],
    ids=str,
)
def test_every_option_changes_the_update(name: str, changes: dict[str, Any]) -> None:
    """An option that silently did nothing would leave the weights of the plain run."""
    common = {"lr": 0.01, "epochs": 4} | ({"critic": "shared"} if name == "ppo" else {})
    assert not torch.equal(weights(trained(made(name, **common))), weights(trained(made(name, **common | changes))))


def test_dynamic_sampling_passes_over_prompts_that_teach_nothing() -> None:
    """Responses to the first prompt all score the same: only those to the second are learnt, of as many rollouts as
    that takes."""
    world = make_world()

    def reward(batch: Batch) -> torch.Tensor:
        counts = torch.tensor([len(lengths) for lengths in batch.response_lengths])
        of_row = torch.repeat_interleave(torch.tensor(batch.prompt_lengths), counts)
        return torch.where(of_row == len(PROMPTS[0]), torch.zeros(()), world.reward(batch))

    algo = made("grpo", dynamic_sampling=3, epochs=1, minibatches=1)
    module: Any = built(algo, reward=reward)
    seen: list[list[bool]] = []
    right = module.learnt

    def learnt(episodes: Any) -> Any:
        found = right(episodes)
        seen.append([row is not None for row in found])
        return found

    module.learnt = learnt
    rows = [Row(PROMPTS[i % 2], index=i) for i in range(algo.rows_a_step(EPISODES))]
    assert len(rows) == 24
    fit(module, StageData(rows, [], lambda step: range(24), 10**6, whole=True))
    # Two rollouts of 8 prompts have 8 that differ, and the third is not drawn.
    assert seen == [[False, True] * 8]


def test_online_dpo_leaves_ties_out_and_raft_takes_the_best() -> None:
    module: Any = built(made("online-dpo"))
    response = ((1, 0), (2, 0), (1, 0))
    episodes = SimpleNamespace(
        rows=[Row((1, 2), response, index=0), Row((3,), response, index=1)],
        first=[0, 3],
        shaped_scores=torch.tensor([1.0, 2.0, 1.0, 5.0, 5.0, 5.0]),
    )
    # Samples 0 and 2 are one response; the second prompt's all tie.
    first, second = module.learnt(episodes)
    assert first.pairs == ((1, 0), (1, 2)) and second is None
    soft: Any = built(made("online-dpo", labels="soft"))
    assert [row.pairs for row in soft.learnt(episodes)] == [((1, 0), (1, 2)), ((0, 1), (1, 2))]
    raft: Any = built(made("raft"))
    raft.worth = lambda _: torch.tensor([[0.0, 3.0, 1.0], [1.0, 0.0, 2.0]])
    assert [row.responses for row in raft.learnt(episodes)] == [((2, 0),), ((1, 0),)]


@pytest.mark.parametrize("name", ["online-dpo", "grpo"])
def test_where_nothing_differs_nothing_is_learnt(name: str) -> None:
    algo = made(name, **({"dynamic_sampling": 2} if name == "grpo" else {}))
    module = trained(algo, reward=lambda batch: torch.zeros(batch.n_responses))
    if name == "grpo":
        assert torch.equal(weights(module), weights(built(algo)))
        assert module.train_metrics["policy/updates"] == 0


def test_remax_takes_the_greedy_score_away() -> None:
    world = make_world()
    module = trained(made("reinforce", variant="remax", lr=1e-9))
    assert module.greedy_scores.shape == (8,)
    # Two prompts take turns, so there are two greedy scores, each one that some outcome has.
    assert torch.equal(module.greedy_scores[::2], module.greedy_scores[:1].expand(4))
    assert all(
        (module.greedy_scores[i] - (world.scores[i])).abs().min() < 1e-5
        or (module.greedy_scores[i] + 1.0 - world.scores[i]).abs().min() < 1e-5
        for i in range(2)
    )


@pytest.mark.parametrize("how", ["scale", "whiten"])
def test_greedy_scores_leave_the_running_statistics_alone(how: str) -> None:
    """Of an iteration the statistics hold its samples; the greedy responses are scored by them and not taken in."""
    world = make_world()
    algo = made("reinforce", variant="remax", lr=1e-9, missing_eos_penalty=0.0)
    module = trained(algo, scoring=ScoringConfig(normalise=how))
    moments = module.shaping.moments
    assert moments.count == EPISODES
    assert moments.mean == pytest.approx(module.train_metrics["objective/score"], rel=1e-6)
    raw = module.greedy_scores * moments.deviation + (moments.mean if how == "whiten" else 0.0)
    for prompt in range(2):
        assert (world.scores[prompt] - raw[prompt]).abs().min() < 1e-5


@pytest.mark.parametrize(
    ("name", "changes"), [("grpo", {}), ("ppo", {"critic": "shared"}), ("raft", {})], ids=lambda x: str(x)
)
def test_without_a_reference_the_same_is_learnt_and_no_kl_is_reported(name: str, changes: dict[str, Any]) -> None:
    whole, without = (trained(made(name, kl_coef=0.0, reference=kept, **changes)) for kept in (True, False))
    assert torch.equal(weights(whole), weights(without))
    kls = {"objective/kl", "objective/kl3", "objective/kl_coef"}
    assert whole.train_metrics.keys() - without.train_metrics.keys() == kls
    assert "reference" in whole.frozen() and "reference" not in without.frozen()
    rows = [Row(PROMPTS[0], ((1, EOS),), index=0)]
    assert "kl" in whole.judge(rows) and without.judge(rows) == {"score": whole.judge(rows)["score"]}


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_only_the_critic_learns_in_its_warm_up(critic: str) -> None:
    algo = PPOConfig(critic=critic, critic_warmup=1, critic_lr=0.01, lr=0.01)
    before, after = built(algo), trained(algo)
    torch.testing.assert_close(weights(after), weights(before), atol=0, rtol=0)
    moved = after.policy.value_head.weight if critic == "shared" else after.critic.hf.score.weight
    start: Any = before
    still = start.policy.value_head.weight if critic == "shared" else start.critic.hf.score.weight
    assert not torch.equal(moved, still)
    assert not torch.equal(weights(trained(algo, steps=2)), weights(before))


def test_the_head_of_a_shared_critic_has_its_own_rate() -> None:
    module = trained(PPOConfig(critic="shared", lr=0.01, critic_lr=0.02, lr_schedule="constant"))
    rates = {id(p): g["lr"] for g in module.optimizer.param_groups for p in g["params"]}
    assert rates[id(module.policy.value_head.weight)] == 0.02
    assert {rates[id(p)] for p in module.policy.hf.parameters()} == {0.01}


def test_a_nat_costs_the_same_whatever_the_scale_of_scores() -> None:
    """Scores and coefficient times ten: whitened advantages stay, and so must the KL's weight beside them."""
    world = make_world()
    few, many = (
        trained(
            made(
                "ppo", critic="separate", kl_in="loss", kl_coef=0.5 * s, lam=1.0, value_coef=0.0, missing_eos_penalty=s
            ),
            reward=lambda batch, s=s: s * world.reward(batch),
        )
        for s in (1.0, 10.0)
    )
    # The critics' values are as small as they start, so the advantages scale with the scores nearly.
    assert few.kl_price * few.deviation == pytest.approx(0.5)
    assert many.kl_price == pytest.approx(few.kl_price, rel=0.05)


def test_what_later_tokens_cost_by_hand() -> None:
    # Log-ratios 1, 2, −1 and 3: each token pays for the next one's; γ = 0.5, a nat costs 10.
    ratio = torch.tensor([[1.0, 2.0, -1.0], [3.0, 7.0, 7.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    found = later_kl_rewards(ratio, torch.zeros(2, 3), mask, 10.0, 0.5)
    assert found.tolist() == [[-10.0, 5.0, 0.0], [0.0, 0.0, 0.0]]
    # With γ = 1, what a token's own KL and the later ones' cost is the whole penalty.
    whole = shaped_rewards(torch.zeros(2), ratio, torch.zeros(2, 3), mask, 10.0).sum(-1)
    own = -10 * ratio[:, 0]
    torch.testing.assert_close(later_kl_rewards(ratio, torch.zeros(2, 3), mask, 10.0).sum(-1) + own, whole)


def test_frozen_models_in_half_precision_keep_their_scalar_heads() -> None:
    critic = new_critic()
    half = copy.deepcopy(critic)
    halve(half)
    assert half.hf.score.weight.dtype == torch.float32
    assert {p.dtype for name, p in half.named_parameters() if "score" not in name} == {torch.bfloat16}
    assert half.hf.transformer.wte.weight.shape == critic.hf.transformer.wte.weight.shape
