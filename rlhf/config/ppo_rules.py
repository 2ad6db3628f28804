"""Refusals that PPO alone needs, see validation.py."""

from __future__ import annotations

from collections.abc import Callable

from rlhf.config.algorithms import PPOConfig
from rlhf.config.paths import check_exists
from rlhf.config.schema import TrainConfig
from rlhf.errors import ConfigError


def _ppo_sampling(config: TrainConfig) -> None:
    if not isinstance(config.algo, PPOConfig):
        return
    rollout = config.rollout
    for name, value, off in (("top_k", rollout.top_k, 0), ("top_p", rollout.top_p, 1)):
        if value != off:
            raise ConfigError(
                f"rollout.{name}: {value:g} would sample from another distribution than the one that PPO optimises; "
                f"with algo=ppo it must be {off}"
            )
    if rollout.temperature == 0:
        raise ConfigError("rollout.temperature: 0 is greedy, and PPO needs samples; with algo=ppo it must be > 0")


def _ppo_batch(config: TrainConfig) -> None:
    if not isinstance(config.algo, PPOConfig):
        return
    episodes = config.train.batch_size
    for name, value in (
        ("minibatches", config.algo.minibatches),
        ("samples_per_prompt", config.algo.samples_per_prompt),
    ):
        if episodes % value:
            raise ConfigError(
                f"train.batch_size: {episodes} episodes can't be divided by algo.{name}={value}; "
                f"pass a multiple of {value}, such as {max(1, round(episodes / value)) * value}"
            )
    # Minibatches are made of prompts with all of their samples: one without a prompt would have no loss.
    prompts = episodes // config.algo.samples_per_prompt
    if prompts < config.algo.minibatches:
        raise ConfigError(
            f"algo.minibatches: {config.algo.minibatches} is more than the {prompts} prompts of an iteration, "
            f"train.batch_size={episodes} over algo.samples_per_prompt={config.algo.samples_per_prompt}; pass "
            f"algo.minibatches={prompts} or train.batch_size={config.algo.minibatches * config.algo.samples_per_prompt}"
        )


def _ppo_ranks(config: TrainConfig) -> None:
    algo, strategy = config.algo, config.strategy
    if not isinstance(algo, PPOConfig) or not isinstance(strategy.devices, int) or strategy.layout == "single":
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


def _ppo_kl(config: TrainConfig) -> None:
    algo = config.algo
    if not isinstance(algo, PPOConfig):
        return
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


def _ppo_ptx(config: TrainConfig) -> None:
    algo = config.algo
    if not isinstance(algo, PPOConfig):
        return
    if algo.ptx_path is not None and algo.ptx_coef == 0:
        raise ConfigError(f"algo.ptx_path: {algo.ptx_path} would not be read with algo.ptx_coef=0; give it a weight")
    if algo.ptx_coef > 0 and algo.ptx_path is None and config.data.source != "assistant":
        raise ConfigError(
            f"algo.ptx_coef: {algo.ptx_coef:g} mixes in a pretraining loss, which needs text; pass algo.ptx_path=FILE"
        )


def _ppo_critic(config: TrainConfig) -> None:
    algo = config.algo
    if isinstance(algo, PPOConfig) and algo.critic == "shared" and algo.critic_lr not in (None, algo.lr):
        raise ConfigError(
            f"algo.critic_lr: {algo.critic_lr:g} would be ignored: with algo.critic=shared the critic is a head on the "
            f"policy and learns at algo.lr={algo.lr:g}; change algo.value_coef instead, or pass algo.critic=separate"
        )


def reads_ptx(config: TrainConfig) -> None:
    """The file of the pretraining loss is there."""
    if isinstance(config.algo, PPOConfig) and config.algo.ptx_path is not None:
        check_exists("algo.ptx_path", config.algo.ptx_path)


PPO_RULES: tuple[Callable[[TrainConfig], None], ...] = (
    _ppo_sampling,
    _ppo_batch,
    _ppo_ranks,
    _ppo_kl,
    _ppo_ptx,
    _ppo_critic,
    reads_ptx,
)
