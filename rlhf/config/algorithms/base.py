"""Keys that every algorithm has, and the facts about it that the rest of the lab asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from rlhf.config.keys import key
from rlhf.config.scoring import ScoringConfig
from rlhf.config.sections import (
    CallbacksConfig,
    DataConfig,
    LoopConfig,
    ModelConfig,
    RolloutConfig,
    StrategyConfig,
)
from rlhf.errors import ConfigError

Records = Literal["documents", "demonstrations", "comparisons", "prompts", "labels", "steps"]
"""Kinds of records, as in `rlhf.data.records.Kind`."""


REFERENCE_MODEL = (
    "the reference, where it is not what the run starts from: a finished run of the same model, or a model folder"
)


class Sections(Protocol):
    """A run's other sections, which an algorithm's rules look at."""

    seed: int
    model: ModelConfig
    data: DataConfig
    train: LoopConfig
    rollout: RolloutConfig
    reward: ScoringConfig
    strategy: StrategyConfig
    callbacks: CallbacksConfig


@dataclass
class AlgoConfig:
    """What every algorithm has: facts, an AdamW optimiser (Loshchilov and Hutter 2019) and its schedule.

    Attributes:
        module: the module that trains it, as `package.module:Class`; imported when a run begins.
        learns_from: kind of records that it reads.
        starts_from: the algorithm whose newest finished run `model.init=auto` starts from; `None`: it is a first one.
        exports: what comes out, a `policy` or a `scorer` (a reward model).
        on_policy: whether it reads prompts, and learns from what its own policy answers.
        needs_reference: whether the policy that it started from takes part in its loss.
        needs_reward: whether something scores responses while it trains, as the section `reward` says; such an
            algorithm has a key `reward_model`.
        rate_as: the algorithm whose learning rate a recipe gives it, where the recipe doesn't name this one.
        scores_steps: whether what it exports scores each step of an answer. `auto` never takes that for a reward model.
        objective: the metric that says how well a run went, unless `train.objective` names others.
    """

    module: ClassVar[str] = ""
    learns_from: ClassVar[Records] = "demonstrations"
    starts_from: ClassVar[str | None] = "sft"
    exports: ClassVar[Literal["policy", "scorer"]] = "policy"
    on_policy: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False
    needs_reward: ClassVar[bool] = False
    rate_as: ClassVar[str | None] = None
    scores_steps: ClassVar[bool] = False
    objective: ClassVar[str] = "val/loss"

    name: str = key("sft", "algorithm")
    lr: float = key(1e-5, "highest learning rate", gt=0, le=1)
    lr_schedule: str = key(
        "cosine", "how the learning rate falls after warm-up", choices=("cosine", "linear", "constant")
    )
    warmup_steps: int | None = key(
        None, "updates over which the learning rate rises from 0; null: a tenth of all updates", ge=0, unit="updates"
    )
    min_lr_ratio: float = key(
        0.1, "last learning rate divided by the highest", ge=0, le=1, source="Ouyang et al. 2022: cosine down to 10%"
    )
    weight_decay: float = key(0.0, "AdamW's weight decay of matrices; biases and norms have none", ge=0, lt=1)
    adam_beta1: float = key(0.9, "decay of the first moment", ge=0, lt=1, source="Ouyang et al. 2022")
    adam_beta2: float = key(0.95, "decay of the second moment", ge=0, lt=1, source="Ouyang et al. 2022")
    adam_eps: float = key(1e-8, "added to the root of the second moment", gt=0, source="Kingma and Ba 2015")
    max_grad_norm: float = key(1.0, "gradients are scaled down to this global norm", gt=0, source="Brown et al. 2020")
    ema_decay: float | None = key(
        None,
        "validate and export an average of the weights: those of k updates ago count ema_decay^k (0.99: the last 100 "
        "or so); null: the last weights. A copy of what learns stays in memory",
        gt=0,
        lt=1,
        source="Kingma and Ba 2015, section 7.2; Ramé et al. 2024 (WARP): 0.99",
    )

    def warmup(self, total_steps: int) -> int:
        """Warm-up in updates, for a run of `total_steps` updates."""
        return total_steps // 10 if self.warmup_steps is None else self.warmup_steps

    @classmethod
    def answers(cls) -> bool:
        """Whether what comes out answers prompts, and so is sampled, chatted with and compared."""
        return cls.exports == "policy" and cls.learns_from != "documents"

    def rows_a_step(self, batch_size: int) -> int:
        """Rows of data of a step whose `train.batch_size` is given."""
        return batch_size

    def learnt_of(self, samples: int) -> int:
        """How many of the responses sampled for a prompt an update learns from."""
        return samples

    def stores_reference(self) -> bool:
        """Whether what the reference says of the data is computed once, before the first update, and kept."""
        return self.needs_reference and not self.on_policy

    def keeps_reference(self) -> bool:
        """Whether the reference stays in memory, and reads the samples that are learnt from."""
        return self.needs_reference and self.on_policy

    def more_passes(self) -> int:
        """Forward passes over the rows of an update, besides the one that it learns from."""
        return 0

    def separator(self) -> str:
        """What stands between two steps of an answer, where it learns from steps."""
        return "\n"

    def other_reference(self) -> str | None:
        """The reference, where it is another model than the one that the run starts from."""
        return getattr(self, "reference_model", None)

    def value_model(self) -> Literal["none", "shared", "separate"]:
        """Whether there is a critic: a head on the policy, or a model of its own."""
        return "none"

    def files(self) -> dict[str, str]:
        """Files that this algorithm reads beside `data`, by dotted key."""
        return {}

    def rules(self, config: Sections) -> None:
        """What can't be, beyond ranges and choices.

        Raises:
            ConfigError: in one sentence, which begins with the key.
        """


def check_moving_reference(steps: int | None, config: Sections) -> None:
    """Refuse to move a reference that has no weights of its own (`algo.reference_sync_steps`).

    Raises:
        ConfigError: it is the policy without its adapter.
    """
    if steps is not None and config.model.adapter != "none":
        raise ConfigError(
            f"algo.reference_sync_steps: {steps} moves a reference of its own, and with model.adapter="
            f"{config.model.adapter} it is the policy without its adapter; leave one of both out"
        )
