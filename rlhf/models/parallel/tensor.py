"""Weights of one layer split over processes that compute it together: tensor parallelism (Shoeybi et al. 2019).

Which layers are split, and along what, is what `transformers` publishes in a model's configuration as
`base_model_tp_plan`. Projections that fan out (queries, keys, values, the MLP's first) are split by their outputs, so
that a process has whole attention heads; those that come back are split by their inputs, and their partial sums added
up. Embeddings, norms and heads stay whole: every process of a tensor group computes the same there.
"""

from __future__ import annotations

from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from torch import nn

from rlhf.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

STYLES = ("colwise", "rowwise")
"""Of `transformers`' styles those that linear layers have; both leave activations between blocks whole."""


def check_plan(hf: Any, size: int) -> None:
    """Refuse a model that can't be split over `size` processes.

    Raises:
        ConfigError: it has no plan, or one of other styles; or its heads or widths don't divide by `size`.
    """
    config = hf.config.get_text_config()
    kind = config.model_type
    plan = block_plan(hf)
    if not plan:
        raise ConfigError(
            f"strategy.tensor_parallel: transformers has no plan by which to split the layers of a {kind}; choose a "
            "Llama, Qwen2 or similar model, or pass strategy.tensor_parallel=1"
        )
    if other := sorted({style for style in plan.values() if style not in STYLES}):
        raise ConfigError(
            f"strategy.tensor_parallel: the plan of a {kind} has layers of the style {other[0]}, which this lab does "
            "not split; choose a Llama, Qwen2 or similar model, or pass strategy.tensor_parallel=1"
        )
    heads = config.num_attention_heads
    counts = {
        "attention heads": heads,
        "key–value heads": getattr(config, "num_key_value_heads", None) or heads,
    }
    for name, layer in hf.base_model.named_modules():
        style = next((style for pattern, style in plan.items() if _matches(name, pattern)), None)
        if style is not None and not isinstance(layer, nn.Linear):
            raise ConfigError(
                f"strategy.tensor_parallel: {name} of this {kind} is of the class {type(layer).__name__}, and only "
                "linear layers can be split; pass strategy.tensor_parallel=1"
            )
        if isinstance(layer, nn.Linear) and style is not None:
            counts[f"columns of {name}"] = layer.out_features if style == "colwise" else layer.in_features
    for what, count in counts.items():
        if count % size:
            raise ConfigError(
                f"strategy.tensor_parallel: {size} does not divide the {count} {what} of this {kind}; "
                f"pass a number that divides {count}"
            )


def split(hf: Any, mesh: DeviceMesh) -> None:
    """Split the layers of the blocks over `mesh`, in place; before `shard`, which shards what each process then has.

    Args:
        hf: a model of `transformers` that `check_plan` lets pass, with the same weights on every process.
        mesh: of one dimension, the tensor groups; part of the mesh that also has the dimension of the data.
    """
    from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

    styles: dict[str, type[ParallelStyle]] = {"colwise": ColwiseParallel, "rowwise": RowwiseParallel}
    plan = {pattern: styles[style]() for pattern, style in block_plan(hf).items()}
    # All processes have read the weights: each keeps its part, and none has to send any.
    parallelize_module(hf.base_model, mesh, plan, src_data_rank=None)


def block_plan(hf: Any) -> dict[str, str]:
    """Styles of the layers within the blocks, by patterns of their names; empty where `transformers` has no plan."""
    plan = getattr(hf.config.get_text_config(), "base_model_tp_plan", None) or {}
    # What has no number is outside of the blocks: embeddings and the last norm.
    return {pattern: style for pattern, style in plan.items() if "*" in pattern}


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatch, parts, wanted))
