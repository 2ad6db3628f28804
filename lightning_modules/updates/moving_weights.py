"""Weights that follow those that learn: their average over updates, and a reference that moves.

`torch.optim.swa_utils.AveragedModel` copies a whole model, frozen weights under an adapter included, and FSDP2 refuses
to copy its modules; so the tensors are kept here, sharded as the weights are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from lightning_modules.updates.state import share_of
from rlhf.models.parallel.sharding import settle


def average_share(decay: float, update: int) -> float:
    """Share of the newest weights in the average after update number `update` (from 1): (1 − d) / (1 − d^t).

    The average is then Σ d^(t−i)·θ_i / Σ d^(t−i) over the weights θ_1 … θ_t after each update, without a part for those
    that training started from (Kingma and Ba 2015, section 7.2).
    """
    return (1.0 - decay) / (1.0 - decay**update)


class StandIn(ABC):
    """Weights that take the place of a model's while a run is validated.

    Exchanged in place, so that no further memory is needed, and nothing that holds the model has to know.
    """

    def __init__(self, models: list[nn.Module]) -> None:
        self.models = models
        self.shown = False

    @abstractmethod
    def pairs(self) -> Iterable[tuple[Tensor, Tensor]]:
        """A model's weights, each with what takes its place; this process's shards. Empty: nothing does, so far."""

    def show(self) -> None:
        """Put the others in the model's place; all ranks call it together."""
        if not self.shown:
            self._exchange()
            self.shown = True

    def put_back(self) -> None:
        """Inverse of `show`; does nothing where nothing is shown."""
        if self.shown:
            self._exchange()
            self.shown = False

    @torch.no_grad()
    def _exchange(self) -> None:
        settle(self.models)
        for ours, other in self.pairs():
            held = ours.clone()
            ours.copy_(other)
            other.copy_(held)


class Average(StandIn):
    """The exponential moving average of a model's weights over its updates, in fp32 (`algo.ema_decay`).

    Args:
        model: what learns; of an adapter on frozen weights its own weights alone are averaged.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__([model])
        self.decay, self.updates = decay, 0
        self.learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.mean = {name: p.detach().clone() for name, p in self.learned.items()}

    @torch.no_grad()
    def follow(self) -> None:
        """Take in the weights after an update."""
        self.updates += 1
        share = average_share(self.decay, self.updates)
        for name, p in self.learned.items():
            self.mean[name].lerp_(p.detach(), share)

    def pairs(self) -> Iterable[tuple[Tensor, Tensor]]:
        if self.updates:
            for name, p in self.learned.items():
                yield local(p), local(self.mean[name])

    @torch.no_grad()
    def adopt(self) -> None:
        """Make the average the model's weights for good; before the first update nothing changes."""
        settle(self.models)
        for ours, mean in self.pairs():
            ours.copy_(mean)

    def state(self) -> dict[str, Any]:
        """For a checkpoint; all ranks call it together."""
        return {"updates": self.updates, "weights": whole(self.mean)}

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`, on any layout."""
        weights = state["weights"]
        if weights.keys() != self.mean.keys():
            raise KeyError("its average is of other weights")
        self.updates = int(state["updates"])
        for name, mean in self.mean.items():
            mean.copy_(share_of(weights[name], mean))


class MovingReference(StandIn):
    """A frozen model of the policy's architecture that moves towards the policy. Checkpoints save it by `state`.

    Args:
        mixup: share of the policy's weights in the reference's, each time that it follows; 1: all of them.
        keeps_first: once it has moved, the weights that it started with are kept in the host's memory and stand in for
            it while a run is validated: `val/kl` stays the distance to the policy that the run started from.
    """

    def __init__(self, model: nn.Module, mixup: float, *, keeps_first: bool = False) -> None:
        super().__init__([model])
        self.model, self.mixup, self.keeps_first = model, mixup, keeps_first
        self.first: dict[str, Tensor] = {}

    @torch.no_grad()
    def follow(self, policy: nn.Module) -> None:
        """θ_ref ← α·θ + (1 − α)·θ_ref, in fp32. All ranks call it together."""
        settle([policy, self.model])
        self.keep_first()
        learned = dict(policy.named_parameters())  # a shared critic's head has no counterpart
        for name, theirs in self.model.named_parameters():
            theirs.copy_(theirs.float().lerp(learned[name].float(), self.mixup))

    def keep_first(self) -> None:
        """Copy what the reference starts with, before it moves for the first time."""
        if self.keeps_first and not self.first:
            self.first = {name: local(p).to("cpu", copy=True) for name, p in self.model.named_parameters()}

    def pairs(self) -> Iterable[tuple[Tensor, Tensor]]:
        if self.first:
            for name, p in self.model.named_parameters():
                yield local(p), self.first[name]

    def state(self) -> dict[str, Tensor]:
        """Whole weights by name, on the CPU; all ranks call it together."""
        settle([self.model])
        return whole(dict(self.model.named_parameters()))

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`, on any layout; to be called before the reference has moved."""
        self.keep_first()
        for name, p in self.model.named_parameters():
            p.copy_(share_of(state[name], p))


def local(tensor: Tensor) -> Tensor:
    """This process's shard of a weight, which changes with it; all of it where nothing is sharded."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole weights by name, gathered one at a time, on the CPU; of shards on rank 0 alone, since only that writes."""
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        full: Any = weight.detach()
        if isinstance(full, DTensor):
            moved: Any = full.to(full.device_mesh.device_type)  # shards may lie in the host's memory
            full = moved.full_tensor()
            if torch.distributed.get_rank():
                continue
        found[name] = full.cpu()
    return found
