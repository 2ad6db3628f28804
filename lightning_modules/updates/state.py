"""Everything that a run needs to continue exactly, in one form for all layouts: whole tensors by parameter name.

What one process, copies (ddp) and shards (fsdp, zero2) save is the same, so each can continue what another began.
Frozen weights are not in it, neither models outside of the module tree nor the base under an adapter: a continued run
builds them as the first did, from its parents and its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from rlhf.errors import TrainingError, first_line

FORMAT = 1


def full_state(module: nn.Module, optimizer: torch.optim.Optimizer, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """What `load_state` restores, on rank 0; elsewhere tensors are missing. All ranks call it together.

    Args:
        optimizer: PyTorch's own, not Lightning's wrapper.
        numbers: what else is to be kept, of plain containers.

    Plain containers, numbers and CPU tensors, so that `torch.load(weights_only=True)` reads it. Tensors may be the live
    ones: write or copy them before the next step.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    again = aliases(module)
    weights = get_model_state_dict(module, options=options)
    return {
        "format": FORMAT,
        "model": {name: value for name, value in weights.items() if name not in again},
        "optimizer": get_optimizer_state_dict(module, optimizer, options=options),
        "generators": _of_all_ranks(generators()),
        **numbers,
    }


def load_state(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    rank: int,
    restore: Callable[[dict[str, Any]], None],
) -> None:
    """Inverse of `full_state`, on any layout. Every rank passes the whole state; its dictionaries are used up.

    Args:
        rank: of this process.
        restore: takes the numbers.

    Raises:
        TrainingError: the state belongs to another version or model.
    """
    try:
        _load_tensors(module, optimizer, state)
        restore(state)
        if rank < len(state["generators"]):
            set_generators(state["generators"][rank])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise TrainingError(
            f"the checkpoint can't be restored ({type(error).__name__}: {first_line(error)}); "
            "start again in a new directory, or continue with the version that wrote it"
        ) from error


def _load_tensors(module: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    if state.get("format") != FORMAT:
        raise TrainingError(
            f"the checkpoint has format {state.get('format')}, and this version reads {FORMAT}; "
            "start again in a new directory, or continue with the version that wrote it"
        )
    again = aliases(module)
    learned = {name for name, p in module.named_parameters() if p.requires_grad}
    kept = {name for name, _ in module.named_buffers()} & module.state_dict().keys()
    weights = dict(state["model"])
    if differing := sorted((learned | kept) ^ weights.keys()):
        raise TrainingError(
            f"the checkpoint belongs to another model: {', '.join(differing[:3])}"
            f"{', …' if len(differing) > 3 else ''} are in only one of the two"
        )
    weights |= {other: weights[name] for other, name in again.items() if name in weights}
    options = StateDictOptions(full_state_dict=True, strict=False)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    weights = {name: share_of(value, parameters.get(name)) for name, value in weights.items()}
    for name, moments in state["optimizer"]["state"].items():
        for kind, value in moments.items():
            moments[kind] = share_of(value, parameters.get(name))
    # First the optimiser, since to make room for its state PyTorch takes a step, with gradients and learning rate 0.
    set_optimizer_state_dict(module, optimizer, state["optimizer"], options=options)
    set_model_state_dict(module, weights, options=options)
    _own(optimizer)


def share_of(value: Any, parameter: Tensor | None) -> Any:
    """This rank's part of a whole tensor, as `parameter` is sharded; anything else as it is.

    Every rank has the whole, so none needs to be sent its part, as PyTorch would do; which also fails where rows that
    tensor parallelism has split don't divide by the ranks that shard them.
    """
    if not isinstance(parameter, DTensor) or not isinstance(value, Tensor) or value.ndim == 0:
        return value
    mesh, placements = parameter.device_mesh, parameter.placements
    return distribute_tensor(value.to(parameter.device), mesh, placements, src_data_rank=None)


def aliases(module: nn.Module) -> dict[str, str]:
    """Second names of tied parameters, mapped to the first."""
    first = {parameter: name for name, parameter in module.named_parameters()}
    return {name: first[p] for name, p in module.named_parameters(remove_duplicate=False) if first[p] != name}


def generators() -> dict[str, Any]:
    """States of this process's random generators: PyTorch's on the CPU and on its GPU, NumPy's, Python's.

    Nothing in a stage draws from them, see rlhf/rollout/uniforms.py; what a user adds may.
    """
    name, keys, *rest = cast(tuple[Any, ...], np.random.get_state(legacy=True))
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "python": random.getstate(),
    }


def set_generators(state: dict[str, Any]) -> None:
    """Inverse of `generators`; a GPU's is left alone where one side has none."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])


def _own(optimizer: torch.optim.Optimizer) -> None:
    """Copy what was loaded: it is the checkpoint's own memory, perhaps a mapping of the file. Tuples came as lists."""
    for group in optimizer.param_groups:
        group |= {name: tuple(value) for name, value in group.items() if name != "params" and isinstance(value, list)}
    for found in optimizer.state.values():
        for name, value in found.items():
            if isinstance(value, Tensor):
                found[name] = value.clone()


def _of_all_ranks(value: Any) -> list[Any]:
    if not torch.distributed.is_initialized():
        return [value]
    found = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return found
