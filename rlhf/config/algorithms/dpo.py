"""Direct preference optimisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from rlhf.config.algorithms.base import REFERENCE_MODEL, AlgoConfig, Records, Sections, check_moving_reference
from rlhf.config.keys import key
from rlhf.errors import ConfigError, nearest

LOSSES = (
    "sigmoid",
    "hinge",
    "ipo",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
    "sft",
)
SMOOTHED = ("sigmoid", "sigmoid_norm", "robust", "exo_pair", "aot", "aot_unpaired")
"""Losses in which label smoothing is defined."""
OF_DIFFERENCES = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "discopop", "sft")
"""Losses that take any divergence."""
WITH_MARGIN = ("sigmoid", "sigmoid_norm", "hinge", "sft")
"""Losses that leave room for a margin."""


@dataclass
class DPOConfig(AlgoConfig):
    """Direct preference optimisation against a frozen reference (Rafailov et al. 2023)."""

    module: ClassVar[str] = "lightning_modules.dpo:DPOModule"
    learns_from: ClassVar[Records] = "comparisons"
    needs_reference: ClassVar[bool] = True
    objective: ClassVar[str] = "val/accuracy"
    SORTED: ClassVar[tuple[str, ...]] = ("aot", "aot_unpaired")
    """Losses that sort a whole batch."""

    name: str = key("dpo", "algorithm", choices=("dpo",))
    lr: float = key(1e-6, "highest learning rate", gt=0, le=1, source="Rafailov et al. 2023, appendix B")
    lr_schedule: str = key(
        "linear",
        "how the learning rate falls after warm-up",
        choices=("cosine", "linear", "constant"),
        source="as in TRL",
    )
    min_lr_ratio: float = key(0.0, "last learning rate divided by the highest", ge=0, le=1, source="as in TRL")
    beta: float = key(
        0.1, "β, the price of KL to the reference", gt=0, unit="1/nat", source="Rafailov et al. 2023, appendix B"
    )
    beta_end: float | None = key(None, "β of the last update, for beta_schedule", gt=0, unit="1/nat")
    beta_schedule: str = key(
        "constant", "how β goes from beta to beta_end over the updates", choices=("constant", "linear", "cosine")
    )
    loss: Any = key("sigmoid", "loss, or a list of losses to add up: see docs/methods.md", choices=LOSSES)
    loss_weights: list[float] = key(list, "weights of the losses in a list; empty: 1 for each")
    label_smoothing: float = key(
        0.0,
        "probability that a label is wrong: sigmoid (cDPO, Mitchell 2023), sigmoid_norm, robust; the ε of exo_pair",
        ge=0,
        lt=0.5,
        unit="probability",
    )
    divergence: str = key(
        "reverse_kl",
        "f-divergence to the reference (Wang et al. 2023)",
        choices=("reverse_kl", "forward_kl", "js", "alpha"),
        source="Rafailov et al. 2023",
    )
    divergence_alpha: float = key(
        0.5, "α of divergence=alpha: reverse KL towards 0, forward KL towards 1", gt=0, lt=1, source="as in TRL"
    )
    discopop_tau: float = key(0.05, "temperature of loss=discopop", gt=0, source="Lu et al. 2024")
    margin_coef: float = key(
        0.0,
        "how far apart two rewards should be for each unit of a comparison's margin (ODPO, Amini et al. 2024)",
        ge=0,
        unit="reward/margin",
    )
    bco_shift: str = key(
        "running",
        "shift of the rewards in loss=bco_pair: their mean in all updates so far (Jung et al. 2024), or none (TRL)",
        choices=("running", "none"),
    )
    reference_model: str | None = key(None, REFERENCE_MODEL)
    reference_sync_steps: int | None = key(
        None,
        "updates between two moves of the reference towards the policy (TR-DPO, Gorbatovski et al. 2024); null: never",
        ge=1,
        unit="updates",
    )
    reference_mixup: float = key(
        0.6, "weight of the policy in the moved reference", gt=0, le=1, source="Gorbatovski et al. 2024; TRL"
    )
    ld_alpha: float | None = key(
        None,
        "weight of the tokens by which a response is longer than the other one (LD-DPO, Liu et al. 2024); null: 1",
        ge=0,
        le=1,
    )
    weighting: str = key(
        "none",
        "none, or wpo: weight pairs by how likely the policy finds both responses (Zhou et al. 2024)",
        choices=("none", "wpo"),
    )

    def mixture(self) -> list[tuple[str, float]]:
        """The losses that are added up, each with its weight."""
        names = [self.loss] if isinstance(self.loss, str) else list(self.loss)
        return list(zip(names, self.loss_weights or [1.0] * len(names), strict=True))

    def sorts(self) -> tuple[str, ...]:
        """The losses that sort the whole batch, for which it is read once more."""
        return tuple(name for name, _ in self.mixture() if name in self.SORTED)

    def stores_reference(self) -> bool:
        return self.reference_sync_steps is None

    def more_passes(self) -> int:
        looks = 1 if self.sorts() else 0
        return looks if self.stores_reference() else looks + 1 + looks

    def beta_at(self, step: int, total: int) -> float:
        """β of update number `step` (from 0) of `total`: `beta` at the first, `beta_end` at the last."""
        if self.beta_schedule == "constant" or self.beta_end is None:
            return self.beta
        progress = min(1.0, step / max(1, total - 1))
        if self.beta_schedule == "cosine":
            progress = 0.5 * (1 - math.cos(math.pi * progress))
        return self.beta + (self.beta_end - self.beta) * progress

    def rules(self, config: Sections) -> None:
        _names(self.loss)
        names = [self.loss] if isinstance(self.loss, str) else list(self.loss)
        if self.loss_weights and (isinstance(self.loss, str) or len(self.loss_weights) != len(names)):
            raise ConfigError(
                f"algo.loss_weights: {len(self.loss_weights)} weights for {len(names)} in algo.loss; give a list of "
                "losses, and a weight for each"
            )
        if any(not (math.isfinite(weight) and weight > 0) for weight in self.loss_weights):
            raise ConfigError(f"algo.loss_weights: {self.loss_weights} must all be > 0")
        self._smoothing(names)
        for name in names:
            if self.divergence != "reverse_kl" and name not in OF_DIFFERENCES:
                raise ConfigError(
                    f"algo.divergence: {self.divergence} is defined for algo.loss={', '.join(OF_DIFFERENCES)} only; "
                    f"with algo.loss={name} it must be reverse_kl"
                )
        if self.margin_coef > 0 and (self.label_smoothing or any(name not in WITH_MARGIN for name in names)):
            raise ConfigError(
                f"algo.margin_coef: {self.margin_coef:g} is defined for algo.loss={', '.join(WITH_MARGIN)} without "
                "label smoothing only; with others it must be 0"
            )
        if self.weighting != "none" and any(name in self.SORTED for name in names):
            raise ConfigError(
                f"algo.weighting: {self.weighting} weights pairs, but algo.loss={', '.join(self.SORTED)} sort single "
                "responses; with these losses it must be none"
            )
        check_moving_reference(self.reference_sync_steps, config)
        if (self.beta_schedule == "constant") != (self.beta_end is None):
            raise ConfigError(
                f"algo.beta_schedule: {self.beta_schedule} with algo.beta_end={self.beta_end}; a schedule needs both, "
                "and a constant β needs beta_end=null"
            )

    def _smoothing(self, names: list[str]) -> None:
        without = [name for name in names if name not in (*SMOOTHED, "sft")]
        if self.label_smoothing > 0 and without:
            raise ConfigError(
                f"algo.label_smoothing: {self.label_smoothing:g} is defined for algo.loss={', '.join(SMOOTHED)} only; "
                f"with algo.loss={without[0]} it must be 0"
            )
        if "exo_pair" in names and self.label_smoothing == 0:
            raise ConfigError(
                "algo.label_smoothing: 0 has no logarithm, which algo.loss=exo_pair takes; pass a small one, such as "
                "algo.label_smoothing=0.001"
            )


def _names(loss: Any) -> None:
    if isinstance(loss, str):
        names = [loss]
    elif isinstance(loss, list) and loss and all(isinstance(name, str) for name in loss):
        names = loss
    else:
        raise ConfigError(f"algo.loss: {loss!r} must be a loss, or a list of losses such as [sigmoid,sft]")
    for name in names:
        if name not in LOSSES:
            raise ConfigError(f"algo.loss: {name!r} is not one of {', '.join(LOSSES)}{nearest(name, LOSSES)}")
        if names.count(name) > 1:
            raise ConfigError(f"algo.loss: {name} stands in the list twice; give it once, with a weight")
    if names == ["sft"]:
        raise ConfigError(
            "algo.loss: sft alone learns from no comparison; add another loss, or run algo=sft on the chosen responses"
        )
