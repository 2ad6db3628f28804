"""One optimiser update from a list of micro-batches: every stage's, so that no stage can get it differently wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Micro
from rlhf.data.batch import Batch, collate
from rlhf.models.parallel.sharding import clip_gradients, settle

if TYPE_CHECKING:
    from lightning_modules.base import StageModule


@dataclass(frozen=True)
class Term:
    """A part of the loss: Σ losses / Σ weights over its micro-batches on all ranks, times `coef`.

    Attributes:
        micros: this rank's micro-batches; every rank has equally many.
        loss_sum: maps a micro-batch to the SUM of its weighted losses (not their mean), and what to report.
        weight: a micro-batch's share of the denominator (tokens, or pairs weighted within their prompt).
    """

    micros: Sequence[Micro]
    loss_sum: Callable[[Batch], tuple[Tensor, Means]]
    weight: Callable[[Batch], float]
    coef: float = 1.0


def target_tokens(batch: Batch) -> float:
    """Weight of losses that are averaged per response token."""
    return float(batch.n_targets)


def prompts_with_pairs(batch: Batch) -> float:
    """Weight of losses that are averaged per prompt, over the prompt's pairs first."""
    return float(batch.pair_weights.sum())


def optimise(module: StageModule, terms: Sequence[Term]) -> dict[str, float]:
    """Run all micro-batches forward and backward, clip, step; returns metrics reduced over micro-batches and ranks.

    Denominators are global over the optimisation batch, so accumulation, the number of devices and the token budget
    can't change the result. Gradients are synchronised once, with the last micro-batch.

    Where the loss or a gradient norm is not finite, the weights stay as they are (`guards.py`).
    """
    module.optimizer.zero_grad(set_to_none=True)
    means = Means()
    seen: list[tuple[Micro, Tensor]] = []
    left = sum(len(term.micros) for term in terms)
    for term in terms:
        batches = [collate(micro.rows) for micro in term.micros]
        local = sum(term.weight(batch) for batch, micro in zip(batches, term.micros, strict=True) if micro.live)
        total = float(module.all_reduce(torch.tensor([local], dtype=torch.float64)))
        for batch, micro in zip(batches, term.micros, strict=True):
            left -= 1
            batch = batch.to(module.device)
            with module.gradient_sync_off() if left else nullcontext():
                loss, report = term.loss_sum(batch)
                share = term.coef / total if micro.live and total else 0.0
                # Data parallelism averages gradients over ranks; the denominator is global already.
                module.manual_backward(loss * (share * module.data_ranks))
            report.total("loss", loss * share)
            report.total("tokens", batch.n_tokens)
            means.merge(report if micro.live else report.zeroed())
            seen.append((micro, loss.detach()))
    metrics = means.reduce(module.all_reduce)
    settle(list(module.trained().values()))
    return metrics | clip_and_step(module, metrics, seen)


def clip_and_step(
    module: StageModule, metrics: dict[str, float], seen: Sequence[tuple[Micro, Tensor]]
) -> dict[str, float]:
    """Clip each model's gradient norm to `algo.max_grad_norm`, set learning rates, step.

    Returns the norms before clipping, and how many updates of the run were skipped because something was not finite.
    """
    groups = module.clip_groups()
    limit = module.config.algo.max_grad_norm or float("inf")
    norms = {}
    for name, parameters in groups.items():
        norms["grad_norm" if len(groups) == 1 else f"grad_norm_{name}"] = clip_gradients(parameters, limit)
    if module.bad_steps.allows(module.place, {"loss": metrics["loss"]} | norms, seen):
        factor = module.lr_factor()
        for part, group in zip(module.rate_names, module.optimizer.param_groups, strict=True):
            group["lr"] = 0.0 if module.rests(part) else group["peak_lr"] * factor
        module.optimizer.step()
        if module.average is not None and not exported_rests(module):
            module.average.follow()
    return norms | {"skipped": float(module.bad_steps.skipped)}


def exported_rests(module: StageModule) -> bool:
    """Whether the exported model is not to move in this step, as while a critic warms up: the weights that training
    started from are no part of an average."""
    exported = module.exported()
    return any(model is exported and module.rests(name) for name, model in module.trained().items())
