"""Where a loss of pairs is least, found in a table of probabilities instead of a model, and so to many digits."""

from __future__ import annotations

import torch
from all_pairs import PAIRS, preferences
from closed_form import OUTCOMES, World
from torch import Tensor

from rlhf.config import DPOConfig
from rlhf.objectives.preference.dpo import dpo
from rlhf.objectives.preference.pair_losses import chosen_nll
from rlhf.objectives.preference.sorted_pairs import Sides, aot


def minimiser(world: World, algo: DPOConfig, flipped: float = 0.0) -> Tensor:
    """Distributions [prompts, outcomes] at which the losses of `algo` over all pairs are least.

    Args:
        flipped: share of the labels that are turned round.
    """
    before = world.distribution(world.reference).log().double()
    first, second = (torch.tensor(side) for side in zip(*PAIRS, strict=True))
    lengths = torch.tensor([len(outcome) for outcome in OUTCOMES], dtype=torch.float64)
    chosen_lengths, rejected_lengths = (lengths[side].repeat(len(before)) for side in (first, second))
    weights = ((1 - 2 * flipped) * preferences(world) + flipped).flatten().double()
    reference = before[:, first].flatten(), before[:, second].flatten()
    logits = before.clone().requires_grad_()

    def loss(name: str) -> Tensor:
        logprobs = logits.log_softmax(-1)
        chosen, rejected = logprobs[:, first].flatten(), logprobs[:, second].flatten()
        if name == "sft":
            return chosen_nll(chosen, chosen_lengths)
        if name == "aot":
            return aot(Sides(chosen - rejected, reference[0] - reference[1]), weights, algo.beta, algo.label_smoothing)
        if name == "aot_unpaired":
            sides = Sides(chosen - reference[0], rejected - reference[1])
            return aot(sides, weights, algo.beta, algo.label_smoothing)
        return dpo(
            chosen,
            rejected,
            *reference,
            beta=algo.beta,
            loss=name,  # type: ignore[arg-type]
            label_smoothing=algo.label_smoothing,
            chosen_lengths=chosen_lengths,
            rejected_lengths=rejected_lengths,
            divergence=algo.divergence,  # type: ignore[arg-type]
            divergence_alpha=algo.divergence_alpha,
        ).losses

    def total() -> Tensor:
        optimiser.zero_grad()
        found = torch.stack([weight * (loss(name) * weights).mean() for name, weight in algo.mixture()]).sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimiser = torch.optim.LBFGS(
        [logits], max_iter=400, line_search_fn="strong_wolfe", tolerance_grad=1e-10, tolerance_change=1e-14
    )
    optimiser.step(total)  # type: ignore[arg-type]
    return logits.detach().softmax(-1).float()
