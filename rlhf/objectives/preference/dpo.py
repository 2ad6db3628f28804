"""Direct preference optimisation and its family: log-probabilities of pairs become losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

from torch import Tensor

from rlhf.objectives.numeric import widen
from rlhf.objectives.preference import pair_losses as losses_of
from rlhf.objectives.preference.divergences import Divergence, divergence_scores

DPOLoss = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
]

SMOOTHED = ("sigmoid", "sigmoid_norm", "robust", "exo_pair")
"""Losses in which label smoothing is defined; so it is in those of `sorted_pairs.py`."""
OF_DIFFERENCES = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "discopop")
"""Losses that take any divergence: rewards enter as a difference alone."""
WITH_MARGIN = ("sigmoid", "sigmoid_norm", "hinge")
"""Losses that can ask for a margin."""
PER_TOKEN = ("ipo", "sigmoid_norm")
"""Losses that divide by the responses' lengths."""


class DPOResult(NamedTuple):
    """Per pair, each [P], fp32; only `losses` carries a gradient.

    Rewards are the implicit ones, β·(log π(y|x) − log π_ref(y|x)): in nats times β, up to a constant of the prompt.
    """

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor


def dpo(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
    loss: DPOLoss = "sigmoid",
    label_smoothing: float = 0.0,
    chosen_lengths: Tensor | None = None,
    rejected_lengths: Tensor | None = None,
    divergence: Divergence = "reverse_kl",
    divergence_alpha: float = 0.5,
    margin: Tensor | None = None,
    reward_shift: float = 0.0,
    discopop_tau: float = 0.05,
) -> DPOResult:
    """Direct preference optimisation, with Δ the score of the chosen response minus that of the rejected one.

    A score is the log-ratio log(π/π_ref), or what another divergence puts in its place. The formulas stand in
    `pair_losses.py`. `ipo` and `sigmoid_norm` divide each score by its response's length; `ipo` does so as TRL does, in
    agreement with its authors: else its target 1/(2β) would mean less for long responses than for short ones.

    Args:
        policy_chosen, policy_rejected: [P], log-probabilities (nats) summed over each response, with gradient.
        reference_chosen, reference_rejected: [P], the same of the frozen reference; no gradient flows into them.
        beta: strength of the pull to the reference, > 0.
        loss: one of the names above.
        label_smoothing: ε in [0, 0.5), for the losses in `SMOOTHED`; `exo_pair` needs ε > 0.
        chosen_lengths, rejected_lengths: [P], tokens summed over, at least 1; losses in `PER_TOKEN` need them.
        divergence, divergence_alpha: see `divergence_scores`; for the losses in `OF_DIFFERENCES`.
        margin: [P], by how much βΔ should at least be above 0 (ODPO, Amini et al. 2024), for those in
            `WITH_MARGIN`, without label smoothing.
        reward_shift: δ of `bco_pair`, in units of a reward.
        discopop_tau: τ of `discopop`, > 0.

    Raises:
        ValueError: an unknown loss, β ≤ 0, or something that this loss does not define, or lacks.
    """
    _check(loss, beta, label_smoothing, divergence, margin)
    log_ratios = widen(policy_chosen) - widen(reference_chosen).detach()
    rejected_ratios = widen(policy_rejected) - widen(reference_rejected).detach()
    rewards = beta * log_ratios, beta * rejected_ratios
    if loss in OF_DIFFERENCES:
        chosen = divergence_scores(log_ratios, divergence, divergence_alpha)
        rejected = divergence_scores(rejected_ratios, divergence, divergence_alpha)
        if loss in PER_TOKEN:
            if chosen_lengths is None or rejected_lengths is None:
                raise ValueError(f"loss={loss} averages by length: pass chosen_lengths and rejected_lengths")
            chosen, rejected = chosen / chosen_lengths, rejected / rejected_lengths
        x = beta * (chosen - rejected)
        of_difference: dict[str, Callable[[], Tensor]] = {
            "sigmoid": lambda: losses_of.logistic(x if margin is None else x - margin, label_smoothing),
            "hinge": lambda: losses_of.hinge(x if margin is None else x - margin),
            "ipo": lambda: losses_of.squared(chosen - rejected, beta),
            "robust": lambda: losses_of.robust(x, label_smoothing),
            "exo_pair": lambda: losses_of.exo_pair(x, label_smoothing),
            "discopop": lambda: losses_of.discopop(x, discopop_tau),
        }
        losses = of_difference["sigmoid" if loss == "sigmoid_norm" else loss]()
    else:
        of_both: dict[str, Callable[[], Tensor]] = {
            "nca_pair": lambda: losses_of.nca_pair(*rewards),
            "bco_pair": lambda: losses_of.bco_pair(*rewards, shift=reward_shift),
            "sppo_hard": lambda: losses_of.sppo_hard(*rewards, beta=beta),
            "apo_zero": lambda: losses_of.apo_zero(*rewards),
            "apo_down": lambda: losses_of.apo_down(*rewards),
        }
        losses = of_both[loss]()
    return DPOResult(losses, rewards[0].detach(), rewards[1].detach())


def _check(loss: str, beta: float, label_smoothing: float, divergence: str, margin: Tensor | None) -> None:
    if loss not in get_args(DPOLoss):
        raise ValueError(f"loss is {loss!r}; it must be one of {', '.join(get_args(DPOLoss))}")
    if not beta > 0:
        raise ValueError(f"beta is {beta}; it must be greater than 0")
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be in [0, 0.5)")
    if label_smoothing and loss not in SMOOTHED:
        raise ValueError(f"label_smoothing is {label_smoothing}, but loss={loss} has none; set it to 0")
    if loss == "exo_pair" and not label_smoothing:
        raise ValueError("label_smoothing is 0; loss=exo_pair takes its logarithm: pass a small one, such as 1e-3")
    if divergence != "reverse_kl" and loss not in OF_DIFFERENCES:
        raise ValueError(f"divergence is {divergence!r}, but loss={loss} is defined for reverse_kl only")
    if margin is not None and (label_smoothing or loss not in WITH_MARGIN):
        raise ValueError(f"margin is given, but loss={loss} with label_smoothing={label_smoothing} has none")
