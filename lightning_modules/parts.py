"""What a module is built from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from lightning_modules.preference.reference import Reference
from rlhf.config import TrainConfig
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.rewards.sources import Rewards
from rlhf.rollout.sampling import Sampler


class Parts(Protocol):
    """Models and data of a stage, each made when it is asked for: loaded to train them, or as shapes alone to plan.

    Models that learn get their adapters, and those that don't are frozen, once the module is built.

    Attributes:
        total_steps: of the whole run, in steps.
    """

    total_steps: int

    @property
    def config(self) -> TrainConfig: ...

    def policy(self, *, value_head: bool = False) -> LanguageModel:
        """The language model that the run starts from; the same one at every call."""

    def scorer(self) -> ScoreModel:
        """A scalar head on the weights that the run starts from."""

    def reference(self) -> LanguageModel:
        """The policy as it is before training, or the model that `algo.reference_model` names."""

    def reference_logprobs(self, *, per_token: bool = False) -> Reference:
        """The same, for stages that need its log-probabilities of fixed rows only, of responses or of tokens."""

    def reward(self) -> Rewards:
        """Where scores come from, as the section `reward` says; its models are the same ones at every call."""

    def critic(self) -> ScoreModel:
        """A model of its own for values. It starts as the reward model, of an ensemble as its first member; without
        any, as the policy's weights with a new head."""

    def sampler(self) -> Sampler:
        """Draws from the policy as it is at that moment."""

    def documents(self) -> Callable[[int], Sequence[Row]] | None:
        """Rows of the pretraining loss by the number of an update, where `algo.ptx_coef` asks for it."""
