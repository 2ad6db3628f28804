"""Weights, gradients and optimiser state in shards over processes: FSDP2 (ZeRO, Rajbhandari et al. 2020)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from rlhf.errors import ConfigError
from rlhf.models.parallel.tensor import split

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from rlhf.models.language import LanguageModel, ScoreModel


def shard(
    model: LanguageModel | ScoreModel,
    mesh: DeviceMesh,
    *,
    keep_gathered: bool = False,
    dtype: torch.dtype | None = None,
    offload: bool = False,
    tensor_mesh: DeviceMesh | None = None,
) -> None:
    """Shard a model over `mesh`, in place: each block separately, then embeddings, last norm and heads with the root.

    Args:
        mesh: of one dimension, or of two: copies of groups that shard (HSDP).
        keep_gathered: weights stay gathered from the forward to the backward pass (ZeRO-2), instead of being gathered
            again (ZeRO-3).
        dtype: of weights and arithmetic within, but for scalar heads; shards, which the optimiser updates, and the
            reduction of gradients stay in fp32. `None`: fp32 throughout.
        offload: shards and optimiser state live in CPU memory.
        tensor_mesh: groups that split the layers of the blocks first (`tensor.py`); of the same mesh.
    """
    if tensor_mesh is not None:
        split(model.hf, tensor_mesh)
    options: dict[str, Any] = {
        "mesh": mesh,
        "reshard_after_forward": not keep_gathered,
        # Scalars that models hand over beside tokens (masks, angles) keep their precision up to the blocks.
        "mp_policy": MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32 if dtype else None),
        "offload_policy": CPUOffloadPolicy(pin_memory=torch.cuda.is_available()) if offload else OffloadPolicy(),
    }
    for block in blocks(model):
        fully_shard(block, **options)
    if dtype is not None:
        # Scores and values are told apart below what bf16 holds (`scalars` in rlhf/models/language.py), so these few
        # numbers are gathered separately, in fp32.
        for head in scalar_heads(model):
            fully_shard(head, **options | {"mp_policy": MixedPrecisionPolicy()})
    fully_shard(model, **options)
    model.keeps_gathered = keep_gathered
    for name in ("next_logits", "generate", "target_states"):
        if hasattr(model, name):
            register_fsdp_forward_method(model, name)


def data_mesh(device: str, ranks: int, shard_size: int | None = None) -> DeviceMesh:
    """All ranks in one group that shards, or in groups of `shard_size` that each hold a copy (HSDP).

    Raises:
        ConfigError: the groups don't use up the ranks.
    """
    from torch.distributed.device_mesh import init_device_mesh

    if shard_size is None or shard_size == ranks:
        return init_device_mesh(device, (ranks,), mesh_dim_names=("shard",))
    if ranks % shard_size:
        raise ConfigError(f"strategy.shard_size: {shard_size} does not divide the {ranks} processes of this run")
    return init_device_mesh(device, (ranks // shard_size, shard_size), mesh_dim_names=("copies", "shard"))


def blocks(model: LanguageModel | ScoreModel) -> list[nn.Module]:
    """The transformer blocks: what `transformers` says must not be split over devices.

    Without blocks inside of others (Mamba names its mixers too), and without those that share weights (Zamba2): what
    is not in a block of its own is gathered with the root.
    """
    names = set(model.hf._no_split_modules or ())
    found = [module for module in model.modules() if type(module).__name__ in names]
    inner = {id(module) for block in found for module in block.modules() if module is not block}
    outer = [block for block in found if id(block) not in inner]
    owners = Counter(id(weight) for block in outer for weight in block.parameters())
    return [block for block in outer if all(owners[id(weight)] == 1 for weight in block.parameters())]


def scalar_heads(model: LanguageModel | ScoreModel) -> list[nn.Module]:
    """The value head of a policy, the head of a scorer."""
    found = (getattr(model, "value_head", None), getattr(model.hf, "score", None))
    return [head for head in found if head is not None]


def shards(model: nn.Module) -> list[FSDPModule]:
    """The modules that gather their own parameters; none where nothing is sharded."""
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def settle(models: Sequence[nn.Module]) -> None:
    """Give back what a pass without gradients left gathered. A step would update the shards and not those copies."""
    for model in models:
        for module in shards(model):
            module.reshard()


@contextmanager
def gathered(model: nn.Module, *, root_only: bool = False) -> Iterator[None]:
    """A context in which parameters stay gathered: once for a rollout, not at each of its tokens. All ranks enter
    together.

    Args:
        root_only: only embeddings and heads, for calls of a head outside of a forward pass.
    """
    found = shards(model)[:1] if root_only else shards(model)
    for module in found:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in found:
            module.reshard()
            module.set_reshard_after_forward(not model.keeps_gathered, recurse=False)


def clip_gradients(parameters: Sequence[nn.Parameter], limit: float) -> float:
    """Scale gradients so that their norm, over all parameters and whole tensors, is at most `limit`.

    Returns:
        The norm before, the same on all ranks. All ranks call it together.
    """
    by_mesh: dict[Any, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_mesh.setdefault(getattr(parameter.grad, "device_mesh", None), []).append(parameter)
    if len(by_mesh) <= 1:
        return float(_whole(nn.utils.clip_grad_norm_(parameters, limit)))
    # With tensor parallelism what is split is on both dimensions of the mesh, what is whole on that of the data alone,
    # and PyTorch adds up norms on one mesh only. Each group's norm counts its shards once, copies not again.
    norms = [_whole(nn.utils.get_total_norm([p.grad for p in found])) for found in by_mesh.values()]  # type: ignore[misc]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    for found in by_mesh.values():
        nn.utils.clip_grads_with_norm_(found, limit, norm)
    return float(norm)


def _whole(tensor: Tensor) -> Tensor:
    """A number that is spread over ranks, as all of them know it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_weights(model: LanguageModel | ScoreModel) -> dict[str, Tensor] | None:
    """Whole weights of `model.hf` by name, on rank 0 (elsewhere empty); `None` where nothing is sharded.

    All ranks call it together.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    if not shards(model):
        return None
    settle([model])
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    found: dict[str, Any] = dict(get_model_state_dict(model, options=options))
    tied = tied_names(model.hf)
    names = {name: name.removeprefix("hf.") for name in found if name.startswith("hf.")}
    return {short: found[name] for name, short in names.items() if short not in tied}


def tied_names(hf: Any) -> set[str]:
    """Names of weights that are another one's, as the output layer is the embedding's in GPT-2."""
    return set(getattr(hf, "all_tied_weights_keys", None) or ())
