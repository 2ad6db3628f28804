"""Algorithms that learn from answers of their own policy: one iteration is a rollout, its scoring, and updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rlhf.config.algorithms.base import REFERENCE_MODEL, AlgoConfig, Records, Sections, check_moving_reference
from rlhf.config.keys import key
from rlhf.config.scoring import check_scoring
from rlhf.errors import ConfigError


@dataclass
class OnPolicyConfig(AlgoConfig):
    """What algorithms share that sample answers, have them scored and learn from them (Ziegler et al. 2019)."""

    learns_from: ClassVar[Records] = "prompts"
    on_policy: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    needs_reward: ClassVar[bool] = True
    objective: ClassVar[str] = "val/total_reward"

    reward_model: Any = key(
        "auto",
        "auto (newest finished reward run of the same tokenizer), a run directory or a model folder; a list of them is "
        "an ensemble, see reward.combine",
    )
    samples_per_prompt: int = key(1, "responses sampled for each prompt", ge=1)
    epochs: int = key(4, "passes over an iteration's episodes", ge=1, source="Ziegler et al. 2019")
    minibatches: int = key(1, "updates in each of those passes", ge=1, source="Huang et al. 2024")
    kl_coef: float = key(
        0.05,
        "weight of KL(policy ‖ reference)",
        ge=0,
        unit="score/nat",
        source="Huang et al. 2024; Stiennon et al. 2020",
    )
    kl_controller: str = key(
        "fixed", "fixed, or adaptive towards kl_target (Ziegler et al. 2019)", choices=("fixed", "adaptive")
    )
    kl_target: float = key(
        6.0, "KL that the adaptive controller aims at", gt=0, unit="nats/response", source="Ziegler et al. 2019"
    )
    kl_horizon: int = key(
        10_000, "how slowly the adaptive controller moves", gt=0, unit="episodes", source="Ziegler et al. 2019"
    )
    kl_in: str = key("reward", "KL as a penalty in each token's reward, or in the loss", choices=("reward", "loss"))
    kl_estimator: str = key(
        "full",
        "with kl_in=loss: full (over the vocabulary), or of the sampled tokens k2, k3 or weighted_k3 (times the "
        "ratio: DeepSeek-V3.2, TRL's default); kl_in=reward takes k1",
        choices=("full", "k2", "k3", "weighted_k3"),
        source="Schulman 2020",
    )
    kl_guard: str = key(
        "off",
        "when KL passes kl_limit: off, stop the run, or raise the coefficient by half",
        choices=("off", "stop", "raise"),
    )
    reference: bool = key(
        True,
        "whether the model that training starts from stays in memory, to measure KL; false needs kl_coef=0, and no KL "
        "is reported then",
    )
    reference_model: str | None = key(None, REFERENCE_MODEL)
    kl_limit: float = key(50.0, "KL that kl_guard watches for", gt=0, unit="nats/response")
    reference_sync_steps: int | None = key(
        None,
        "every so many iterations the reference moves to the policy, from where KL is then counted (ProRL, Liu et al. "
        "2025); null: never",
        ge=1,
        unit="iterations",
    )
    reference_mixup: float = key(
        1.0,
        "share of the policy in the reference that has moved; 1: the policy itself",
        gt=0,
        le=1,
        source="Liu et al. 2025; Gorbatovski et al. 2024: 0.6",
    )
    target_kl: float | None = key(
        None, "an iteration's updates stop once approximate KL passes this; null: never", gt=0, unit="nats/token"
    )
    missing_eos_penalty: float = key(
        1.0,
        "subtracted from the score of a response without end-of-text",
        ge=0,
        unit="score",
        source="Huang et al. 2024",
    )
    score_clip: float | None = key(None, "scores are clipped to ±this; null: not clipped", gt=0, unit="score")
    frozen_dtype: str = key(
        "fp32",
        "precision of the reference and the reward model, which do not learn: bf16 halves their memory and rounds "
        "their outputs",
        choices=("fp32", "bf16"),
    )
    entropy_coef: float = key(0.0, "weight of an entropy bonus", ge=0, unit="1/nat")
    ptx_coef: float = key(
        0.0, "weight of the pretraining loss mixed in (PPO-ptx)", ge=0, source="Ouyang et al. 2022, equation 2"
    )
    ptx_path: str | None = key(None, "file with the text for ptx_coef; read with data.format=auto")

    def rows_a_step(self, batch_size: int) -> int:
        """Prompts whose samples make up `train.batch_size` episodes."""
        return batch_size // self.samples_per_prompt

    def keeps_reference(self) -> bool:
        return self.reference

    def files(self) -> dict[str, str]:
        return {} if self.ptx_path is None else {"algo.ptx_path": self.ptx_path}

    def rules(self, config: Sections) -> None:
        check_scoring(config.reward, self.reward_model, self.samples_per_prompt, list(config.data.fields), self.name)
        check_moving_reference(self.reference_sync_steps, config)
        for rule in (_sampling, _batch, _ranks, _reference, _kl, _documents, _frozen, _steps):
            rule(self, config)


def _steps(algo: OnPolicyConfig, config: Sections) -> None:
    if config.reward.step_rewards and algo.value_model() == "none":
        raise ConfigError(
            f"reward.step_rewards: true needs a critic, and algo={algo.name} rewards whole responses; pass algo=ppo, "
            "or leave it out: the combined score of the steps is then the reward"
        )


def _sampling(algo: OnPolicyConfig, config: Sections) -> None:
    rollout = config.rollout
    for name, value, off in (("top_k", rollout.top_k, 0), ("top_p", rollout.top_p, 1)):
        if value != off:
            raise ConfigError(
                f"rollout.{name}: {value:g} would sample from another distribution than the one that is optimised; "
                f"with algo={algo.name} it must be {off}"
            )
    if rollout.temperature == 0:
        raise ConfigError(f"rollout.temperature: 0 is greedy, and algo={algo.name} learns from samples; it must be > 0")


def _batch(algo: OnPolicyConfig, config: Sections) -> None:
    episodes = config.train.batch_size
    for name, value in (
        ("minibatches", algo.minibatches),
        ("samples_per_prompt", algo.samples_per_prompt),
    ):
        if episodes % value:
            raise ConfigError(
                f"train.batch_size: {episodes} episodes can't be divided by algo.{name}={value}; "
                f"pass a multiple of {value}, such as {max(1, round(episodes / value)) * value}"
            )
    # Minibatches are made of prompts with all of their samples: one without a prompt would have no loss.
    prompts = episodes // algo.samples_per_prompt
    if prompts < algo.minibatches:
        raise ConfigError(
            f"algo.minibatches: {algo.minibatches} is more than the {prompts} prompts of an iteration, "
            f"train.batch_size={episodes} over algo.samples_per_prompt={algo.samples_per_prompt}; pass "
            f"algo.minibatches={prompts} or train.batch_size={algo.minibatches * algo.samples_per_prompt}"
        )


def _ranks(algo: OnPolicyConfig, config: Sections) -> None:
    strategy = config.strategy
    if not isinstance(strategy.devices, int) or strategy.layout == "single":
        return
    ranks = strategy.devices * strategy.nodes // strategy.tensor_parallel
    prompts, who = config.train.batch_size // algo.samples_per_prompt, "processes"
    if strategy.tensor_parallel > 1:
        who = f"groups of strategy.tensor_parallel={strategy.tensor_parallel} processes"
    if prompts < ranks:
        raise ConfigError(
            f"train.batch_size: {config.train.batch_size} episodes are {prompts} prompts with "
            f"algo.samples_per_prompt={algo.samples_per_prompt}, fewer than the {ranks} {who} of strategy.devices; "
            f"pass at least {ranks * algo.samples_per_prompt}"
        )


def _reference(algo: OnPolicyConfig, config: Sections) -> None:
    if algo.reference:
        return
    full = algo.kl_in == "loss" and algo.kl_estimator == "full"
    for name, value, wanted in (
        ("kl_coef", f"{algo.kl_coef:g}", algo.kl_coef == 0 or "0"),
        ("kl_guard", algo.kl_guard, algo.kl_guard == "off" or "off"),
        ("kl_estimator", algo.kl_estimator, not full or "k3, or algo.kl_in=reward"),
        ("reference_sync_steps", algo.reference_sync_steps, algo.reference_sync_steps is None or "null"),
        ("reference_model", algo.reference_model, algo.reference_model is None or "null"),
    ):
        if wanted is not True:
            raise ConfigError(
                f"algo.{name}: {value} asks for the KL to a reference, and algo.reference=false keeps none; it must be "
                f"{wanted}"
            )


def _kl(algo: OnPolicyConfig, config: Sections) -> None:
    if algo.kl_guard == "raise" and algo.kl_coef == 0:
        raise ConfigError("algo.kl_coef: 0 stays 0 under algo.kl_guard=raise, which multiplies it; it must be > 0")
    if algo.kl_controller == "fixed":
        return
    if algo.kl_in == "loss":
        raise ConfigError(
            "algo.kl_controller: adaptive steers the KL penalty in the reward; with algo.kl_in=loss it must be fixed"
        )
    if algo.kl_horizon <= 0.2 * config.train.batch_size:
        raise ConfigError(
            f"algo.kl_horizon: {algo.kl_horizon} is too short for {config.train.batch_size} episodes an iteration, "
            f"which could bring the coefficient to 0 at once; it must be above {0.2 * config.train.batch_size:g}"
        )
    if algo.kl_coef == 0:
        raise ConfigError(
            "algo.kl_coef: 0 stays 0 under algo.kl_controller=adaptive, which multiplies it; it must be > 0"
        )


def _documents(algo: OnPolicyConfig, config: Sections) -> None:
    if algo.ptx_path is not None and algo.ptx_coef == 0:
        raise ConfigError(f"algo.ptx_path: {algo.ptx_path} is not used with algo.ptx_coef=0; raise algo.ptx_coef")
    if algo.ptx_coef > 0 and algo.ptx_path is None and config.data.source != "assistant":
        raise ConfigError(
            f"algo.ptx_coef: {algo.ptx_coef:g} mixes in a pretraining loss, which needs text; pass algo.ptx_path=FILE"
        )


def _frozen(algo: OnPolicyConfig, config: Sections) -> None:
    if algo.frozen_dtype == "fp32":
        return
    shared = "the reference shares the weights of the policy"
    moves = algo.reference_sync_steps is not None and algo.reference_mixup < 1
    for name, value, reason in (
        (
            "algo.reference_mixup",
            algo.reference_mixup if moves else None,
            "small steps would be rounded away",
        ),
        ("model.adapter", config.model.adapter if config.model.adapter == "lora" else None, shared),
        (
            "model.quantize",
            config.model.quantize if config.model.quantize != "none" else None,
            "weights are fewer bits",
        ),
        (
            "strategy.layout",
            config.strategy.layout if config.strategy.layout in ("fsdp", "zero2") else None,
            "shards are kept in fp32",
        ),
    ):
        if value is not None:
            raise ConfigError(f"algo.frozen_dtype: with {name}={value} {reason}; it must be fp32")
