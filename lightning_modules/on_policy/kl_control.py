"""The price of KL to the reference over a run, and what happens where the KL passes a limit."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from rlhf.config import OnPolicyConfig
from rlhf.errors import TrainingError
from rlhf.objectives.kl import AdaptiveKL, FixedKL

log = logging.getLogger("rlhf")

KL_RAISE = 1.5
"""By how much `algo.kl_guard=raise` raises the coefficient after an iteration above the limit."""


def to_current(metrics: Mapping[str, float]) -> dict[str, float]:
    """An iteration's metrics where the reference moves: KL to what it is now is called so, since other runs' KL, and
    `val/kl`, are to the policy that a run started from."""
    names = {"objective/kl": "objective/kl_current", "objective/kl3": "objective/kl3_current"}
    return {names.get(name, name): value for name, value in metrics.items()}


class KLControl:
    """`algo.kl_controller` and `algo.kl_guard`; KL is in nats per response, the mean over all ranks."""

    def __init__(self, algo: OnPolicyConfig) -> None:
        self.algo = algo
        self.controller: AdaptiveKL | FixedKL = FixedKL(algo.kl_coef)
        if algo.kl_controller == "adaptive":
            self.controller = AdaptiveKL(algo.kl_coef, algo.kl_target, algo.kl_horizon)

    @property
    def value(self) -> float:
        """The coefficient of the iteration under way."""
        return self.controller.value

    def check(self, kl: float, step: int) -> None:
        """Stop before learning from a policy that has left its reference, where that is wanted.

        Raises:
            TrainingError: the KL is above the limit.
        """
        algo = self.algo
        if algo.kl_guard == "stop" and kl > algo.kl_limit:
            raise TrainingError(
                f"step {step}: the KL to the reference is {kl:.4g} nats per response, above algo.kl_limit="
                f"{algo.kl_limit:g}; the weights are as before this step: start again with a higher algo.kl_coef than "
                f"{algo.kl_coef:g} or a lower algo.lr than {algo.lr:g}, or pass algo.kl_guard=raise"
            )

    def adapt(self, kl: float, n_episodes: int, step: int, *, told: bool) -> None:
        """Set the coefficient of the next iteration.

        Args:
            told: whether this process writes to the log.
        """
        if not math.isfinite(kl):
            return  # nothing was learned from it either
        self.controller.update(kl, n_episodes)
        if self.algo.kl_guard == "raise" and kl > self.algo.kl_limit:
            self.controller.value *= KL_RAISE
            if told:
                log.warning(
                    "step %d: the KL to the reference is %.4g nats per response, above algo.kl_limit=%g; its "
                    "coefficient is %.4g from now on",
                    step,
                    kl,
                    self.algo.kl_limit,
                    self.value,
                )

    def state_dict(self) -> dict[str, float]:
        return self.controller.state_dict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.controller.load_state_dict(state)
