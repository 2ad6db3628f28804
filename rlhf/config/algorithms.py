"""Keys of the five stages. Defaults suit pretrained models of 0.1 to 1 billion parameters; conf/recipe has them by
size, conf/tuned for single models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.keys import key


@dataclass
class AlgoConfig:
    """What every stage has: an AdamW optimiser (Loshchilov and Hutter 2019) and its schedule.

    Attributes:
        objective: the metric that says how well a run went, unless `train.objective` names others.
    """

    objective: ClassVar[str] = "val/loss"

    name: str = key("sft", "stage", choices=("pretrain", "sft", "reward", "dpo", "ppo"))
    lr: float = key(1e-5, "highest learning rate", gt=0, le=1)
    lr_schedule: str = key("cosine", "how the rate falls after warm-up", choices=("cosine", "linear", "constant"))
    warmup_steps: int | None = key(
        None, "updates over which the rate rises from 0; null: a tenth of all updates", ge=0, unit="updates"
    )
    min_lr_ratio: float = key(
        0.1, "last learning rate over the highest", ge=0, le=1, source="Ouyang et al. 2022: cosine down to 10%"
    )
    weight_decay: float = key(0.0, "AdamW's decay of matrices; not of biases and norms", ge=0, lt=1)
    adam_beta1: float = key(0.9, "decay of the first moment", ge=0, lt=1, source="Ouyang et al. 2022")
    adam_beta2: float = key(0.95, "decay of the second moment", ge=0, lt=1, source="Ouyang et al. 2022")
    adam_eps: float = key(1e-8, "added to the root of the second moment", gt=0, source="Kingma and Ba 2015")
    max_grad_norm: float = key(1.0, "gradients are scaled down to this global norm", gt=0, source="Brown et al. 2020")

    def warmup(self, total_steps: int) -> int:
        """Warm-up in updates, for a run of `total_steps` updates."""
        return total_steps // 10 if self.warmup_steps is None else self.warmup_steps


@dataclass
class PretrainConfig(AlgoConfig):
    """Next-token prediction on plain text."""

    name: str = key("pretrain", "stage", choices=("pretrain",))
    lr: float = key(6e-4, "highest learning rate", gt=0, le=1, source="Brown et al. 2020, table 2.1, 125M")
    weight_decay: float = key(
        0.1, "AdamW's decay of matrices; not of biases and norms", ge=0, lt=1, source="Brown et al. 2020"
    )


@dataclass
class SFTConfig(AlgoConfig):
    """Supervised fine-tuning on demonstrations (Ouyang et al. 2022)."""

    name: str = key("sft", "stage", choices=("sft",))
    lr: float = key(1e-5, "highest learning rate", gt=0, le=1, source="Ouyang et al. 2022, C.1: 9.65e-6 at 1.3B")


@dataclass
class RewardConfig(AlgoConfig):
    """Reward model on comparisons, Bradley–Terry loss (Ouyang et al. 2022, equation 1)."""

    objective: ClassVar[str] = "val/accuracy"

    name: str = key("reward", "stage", choices=("reward",))
    lr: float = key(1e-5, "highest learning rate", gt=0, le=1, source="Ouyang et al. 2022, C.2: 9e-6")
    center: bool = key(
        True, "shift scores so that chosen responses have mean 0", source="Ouyang et al. 2022, section 3.5"
    )


@dataclass
class DPOConfig(AlgoConfig):
    """Direct preference optimisation against a frozen reference (Rafailov et al. 2023)."""

    objective: ClassVar[str] = "val/accuracy"

    name: str = key("dpo", "stage", choices=("dpo",))
    lr: float = key(1e-6, "highest learning rate", gt=0, le=1, source="Rafailov et al. 2023, appendix B")
    lr_schedule: str = key(
        "linear", "how the rate falls after warm-up", choices=("cosine", "linear", "constant"), source="as in TRL"
    )
    min_lr_ratio: float = key(0.0, "last learning rate over the highest", ge=0, le=1, source="as in TRL")
    beta: float = key(
        0.1, "strength of the pull to the reference", gt=0, unit="1/nat", source="Rafailov et al. 2023, appendix B"
    )
    loss: str = key(
        "sigmoid",
        "sigmoid (Rafailov et al. 2023), ipo (Azar et al. 2023), hinge (Zhao et al. 2023)",
        choices=("sigmoid", "ipo", "hinge"),
    )
    label_smoothing: float = key(
        0.0, "probability that a label is wrong (cDPO, Mitchell 2023)", ge=0, lt=0.5, unit="probability"
    )


@dataclass
class PPOConfig(AlgoConfig):
    """Proximal policy optimisation against a reward model (Ziegler et al. 2019; Huang et al. 2024)."""

    objective: ClassVar[str] = "val/total_reward"

    name: str = key("ppo", "stage", choices=("ppo",))
    lr: float = key(3e-6, "highest learning rate of the policy", gt=0, le=1, source="Huang et al. 2024")
    lr_schedule: str = key(
        "linear",
        "how the rate falls after warm-up",
        choices=("cosine", "linear", "constant"),
        source="Ziegler et al. 2019",
    )
    warmup_steps: int | None = key(
        0, "updates over which the rate rises from 0; null: a tenth of all updates", ge=0, unit="iterations"
    )
    min_lr_ratio: float = key(0.0, "last learning rate over the highest", ge=0, le=1, source="Huang et al. 2024")
    adam_beta2: float = key(0.95, "decay of the second moment", ge=0, lt=1, source="Ouyang et al. 2022, C.4")
    reward_model: str = key(
        "auto", "auto (newest finished reward run of the same tokenizer), a run directory or a model folder"
    )
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
    kl_in: str = key(
        "reward", "KL as a penalty in each token's reward, or in full in the loss", choices=("reward", "loss")
    )
    kl_guard: str = key(
        "off",
        "when KL passes kl_limit: off, stop the run, or raise the coefficient by half",
        choices=("off", "stop", "raise"),
    )
    kl_limit: float = key(50.0, "KL that kl_guard watches for", gt=0, unit="nats/response")
    clip_epsilon: float = key(
        0.2, "clip of the probability ratio", gt=0, lt=1, source="Schulman et al. 2017; Huang et al. 2024"
    )
    value_coef: float = key(0.1, "weight of the value loss", ge=0, source="Ziegler et al. 2019")
    clip_value: float | None = key(
        0.2, "clip of the value's move from the rollout's; null: none", gt=0, unit="score", source="Ziegler et al. 2019"
    )
    critic: str = key(
        "separate",
        "separate (a model that starts from the reward model) or shared (a head on the policy)",
        choices=("separate", "shared"),
        source="Stiennon et al. 2020",
    )
    critic_lr: float | None = key(None, "learning rate of a separate critic; null: as lr", gt=0, le=1)
    epochs: int = key(4, "passes over an iteration's episodes", ge=1, source="Ziegler et al. 2019")
    minibatches: int = key(1, "updates in each of those passes", ge=1, source="Huang et al. 2024")
    samples_per_prompt: int = key(1, "responses sampled for each prompt", ge=1)
    gamma: float = key(1.0, "discount a token", gt=0, le=1, source="Ziegler et al. 2019")
    lam: float = key(
        0.95, "λ of generalised advantages", ge=0, le=1, source="Schulman et al. 2016; Ziegler et al. 2019"
    )
    whiten_advantages: bool = key(True, "advantages to mean 0, variance 1 over tokens", source="Ziegler et al. 2019")
    whiten_rewards: bool = key(False, "rewards to variance 1 over tokens, mean kept", source="Huang et al. 2024")
    missing_eos_penalty: float = key(
        1.0, "taken from the score of a response without end-of-text", ge=0, unit="score", source="Huang et al. 2024"
    )
    score_clip: float | None = key(None, "scores are clipped to ±this; null: not", gt=0, unit="score")
    entropy_coef: float = key(0.0, "weight of an entropy bonus", ge=0, unit="1/nat")
    target_kl: float | None = key(
        None, "an iteration's updates stop once approximate KL passes this; null: never", gt=0, unit="nats/token"
    )
    ptx_coef: float = key(
        0.0, "weight of the pretraining loss mixed in (PPO-ptx)", ge=0, source="Ouyang et al. 2022, equation 2"
    )
    ptx_path: str | None = key(None, "file with the text for ptx_coef; read with data.format=auto")
