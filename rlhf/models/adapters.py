"""Low-rank adapters (LoRA, Hu et al. 2021) inside a backbone, and several models on one backbone's weights.

peft puts its layers into the modules of `transformers` in place, so a model's class and the way it is called stay what
they were. Models that share a backbone are modules of their own around the same parameters: none has to be switched on
or off, so that nothing depends on which one ran last, not even a forward pass that gradient checkpointing repeats.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rlhf.errors import ConfigError, ParentError, nearest
from rlhf.storage.reading import Unreadable, read_json
from rlhf.storage.shapes import fits

NAME = "default"
"""What peft calls the only adapter of a model."""

ALL_LINEAR = "all-linear"
PREFIX = "base_model.model."
"""What stands before the names of weights in peft's files."""

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


class Settings(TypedDict):
    """What is read of `adapter_config.json`."""

    r: int
    lora_alpha: float
    target_modules: list[str]


@dataclass(frozen=True)
class Lora:
    """Which layers get an adapter, and how large: W + (alpha / r) · B · A, with A [r, in] and B [out, r].

    Attributes:
        targets: names, or last parts of names, of linear layers; or `all-linear` (Dettmers et al. 2023).
    """

    r: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = (ALL_LINEAR,)


def add_lora(hf: Any, lora: Lora, seed: int) -> None:
    """Freeze a model but for its scalar head, and give its linear layers adapters, in place.

    A is random (Kaiming-uniform, from `seed`) and B is 0: the model still computes what it did, to the last bit.

    Raises:
        ConfigError: a target names no linear layer of the backbone.
    """
    from peft import LoraConfig, inject_adapter_in_model

    targets = _targets(hf, lora.targets)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        target_modules=targets,
        fan_in_fan_out=_transposed(hf, targets),
        lora_dropout=0.0,  # a policy, its reference and what was sampled must be comparable
        bias="none",
    )
    hf.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, hf.base_model, NAME)
    if is_scorer(hf):
        hf.score.requires_grad_(True)


def is_scorer(hf: Any) -> bool:
    """Whether a model has a scalar head."""
    return hasattr(hf, "score")


def is_adapted(module: nn.Module) -> bool:
    """Whether this module is a linear layer with an adapter."""
    return hasattr(module, "lora_A")


def has_adapter(model: nn.Module) -> bool:
    return any(is_adapted(module) for module in model.modules())


def linear_layers(hf: Any) -> dict[str, nn.Module]:
    """The linear layers of the backbone by name; the output layer is not part of it.

    Layers that share a weight (Zamba2) are left out: what several adapters add to it can't be merged into one.
    """
    from transformers.pytorch_utils import Conv1D

    found: dict[str, Any] = {n: m for n, m in hf.base_model.named_modules() if isinstance(m, (nn.Linear, Conv1D))}
    users = Counter(id(m.weight) for m in found.values())
    return {name: m for name, m in found.items() if users[id(m.weight)] == 1 and _returns_its_product(m)}


def _returns_its_product(layer: Any) -> bool:
    """Whether an adapter's product can be added to what a layer returns.

    Routers of experts may be `nn.Linear` by class and return chosen experts as well (PhiMoE, Llama 4). An
    architecture's own class is asked, since others of that kind return a tensor (Falcon).
    """
    if not type(layer).__module__.startswith("transformers.models."):
        return True
    try:
        with torch.no_grad():
            return isinstance(layer(layer.weight.new_zeros(1, layer.in_features)), Tensor)
    except (RuntimeError, ValueError, TypeError, IndexError):  # it wants more than rows of numbers
        return False


def _targets(hf: Any, asked: Sequence[str]) -> list[str]:
    """What peft looks for: last parts of names, or whole names where something else is called the same (CTRL, Zamba2).

    Raises:
        ConfigError: one names nothing.
    """
    names = list(linear_layers(hf))
    if ALL_LINEAR in asked:
        linear = {name: name.rsplit(".", 1)[-1] for name in names}
        others = {name.rsplit(".", 1)[-1] for name, _ in hf.base_model.named_modules() if name not in linear}
        skipped = _read_past_forward(hf)
        return sorted({name if last in others else last for name, last in linear.items() if last not in skipped})
    for target in asked:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            known = sorted({name.rsplit(".", 1)[-1] for name in names})
            raise ConfigError(
                f"model.lora_targets: {target} is not a linear layer of a {hf.config.model_type}; "
                f"it has {', '.join(known)}{nearest(target, known)}"
            )
    return sorted(asked)


def _read_past_forward(hf: Any) -> set[str]:
    """Layers of Mamba whose weights its kernels use directly, so that an adapter would have no effect."""
    names = {name.rsplit(".", 1)[-1] for name, _ in hf.base_model.named_modules()}
    if "dt_proj" in names or "mamba" in hf.config.model_type:
        return {"dt_proj", "out_proj"}
    return {"out_proj"} if hf.config.model_type in ("falcon_h1", "nemotron_h") else set()


def _transposed(hf: Any, targets: Sequence[str]) -> bool:
    """Whether weights are laid out [in, out], as in GPT-2's `Conv1D`, and not [out, in]."""
    from transformers.pytorch_utils import Conv1D

    layers = linear_layers(hf).items()
    return any(isinstance(m, Conv1D) for name, m in layers if name.rsplit(".", 1)[-1] in targets or name in targets)


def share(hf: Any) -> Any:
    """A model of its own on the same backbone weights: modules, adapter and scalar head are copies."""
    memo: dict[int, Any] = {id(p): p for name, p in hf.named_parameters() if not _is_own(name)}
    # Where weights of 8 bits are, there are their scales, which only the first module to be asked would find.
    memo |= {id(m.state): m.state for m in hf.modules() if type(m).__name__ == "Linear8bitLt"}
    return copy.deepcopy(hf, memo)


def is_quantized(hf: Any) -> bool:
    return getattr(hf, "hf_quantizer", None) is not None


def floating(layer: Any) -> Tensor:
    """A linear layer's weight; of a quantised one, what it stands for, in fp32."""
    weight: Tensor = layer.weight
    if weight.is_floating_point():
        return weight
    from peft.utils.integrations import dequantize_bnb_weight

    return dequantize_bnb_weight(layer.weight, state=getattr(layer, "state", None)).float()


def _is_conv(hf: Any, name: str) -> bool:
    """Whether a weight is laid out [in, out]."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(hf.get_submodule(name.rpartition(".")[0]), Conv1D)


def _is_own(name: str) -> bool:
    """Whether a parameter belongs to a model and not to the backbone that models share."""
    return ".lora_" in name or name.startswith("score.")


def merged_weight(layer: Any) -> Tensor:
    """A layer's weight with its adapter's product added, in the layout of the base layer; a new tensor."""
    a, b = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
    return _merged(layer, floating(layer.get_base_layer()), a, b).detach()


def _merged(layer: Any, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """W + scaling · B · A, in the layout and precision of W."""
    delta = (b.float() @ a.float()) * layer.scaling[NAME]
    return weight + (delta.t() if getattr(layer, "fan_in_fan_out", False) else delta).to(weight)


def merged_weights(hf: Any, state: Mapping[str, Tensor] | None = None) -> Iterator[tuple[str, Tensor]]:
    """The weights of the plain model that computes the same, by name, one at a time; tied ones come by each name.

    Args:
        state: full weights of `hf`, where they are gathered from shards; else the model's own.
    """
    weights = hf.state_dict() if state is None else state
    saved = plain(hf) if is_quantized(hf) else None
    for name, weight in weights.items():
        layer, _, rest = name.partition(".base_layer.")
        found = f"{layer}.{rest}" if rest else name
        if ".lora_" in name:
            continue
        # Other integers are buffers of an architecture's own, such as counters, and stay what they are.
        packed = saved is not None and name.endswith(".weight") and not weight.is_floating_point()
        if packed:
            weight = floating(hf.get_submodule(name.rpartition(".")[0]))
        if rest == "weight":
            a, b = (weights[f"{layer}.lora_{part}.{NAME}.weight"] for part in "AB")
            weight = _merged(hf.get_submodule(layer), weight, a, b)
        if saved is not None and weight.is_floating_point():
            weight = weight.float()  # bitsandbytes rounds biases in place, to the precision of its products
        # GPT-2's layers are laid out like all others' as soon as they are quantised.
        if packed and _is_conv(saved, found):
            weight = weight.t().contiguous()
        yield found, weight


def plain(hf: Any) -> Any:
    """The same class and configuration without adapters and without weights: what `save_pretrained` writes down."""
    config = copy.deepcopy(hf.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.float32
    with torch.device("meta"):
        found = type(hf)(config)
    if getattr(hf, "generation_config", None) is not None:
        found.generation_config = copy.deepcopy(hf.generation_config)
    return found


def save_adapter(hf: Any, folder: Path, base: str | None, state: Mapping[str, Tensor] | None = None) -> None:
    """Write adapter and scalar head in peft's own format: `PeftModel.from_pretrained(base, folder)` reads it.

    Args:
        base: name or folder of the weights that the adapter belongs to.
        state: as in `merged_weights`.
    """
    settings = copy.deepcopy(hf.base_model.peft_config[NAME])
    settings.base_model_name_or_path = base
    settings.inference_mode = True
    settings.task_type = "SEQ_CLS" if is_scorer(hf) else "CAUSAL_LM"
    settings.modules_to_save = ["score"] if is_scorer(hf) else None
    folder.mkdir(parents=True, exist_ok=True)
    settings.save_pretrained(folder)
    weights = hf.state_dict() if state is None else state
    own = {f"{PREFIX}{name}".replace(f".{NAME}.", "."): w.contiguous() for name, w in weights.items() if _is_own(name)}
    save_file(own, folder / WEIGHTS, metadata={"format": "pt"})


def load_adapter(hf: Any, folder: Path) -> None:
    """Give a plain model the adapter (and scalar head) that `save_adapter` wrote, in place.

    Raises:
        ParentError: the files don't fit the model.
    """
    try:
        content = read_json(folder / SETTINGS)
        if not fits(content, Settings):
            raise Unreadable("r, lora_alpha or target_modules is missing or of another type")
        found = load_file(folder / WEIGHTS)
    except (OSError, Unreadable, SafetensorError) as error:
        raise ParentError(f"{folder}: not an adapter that can be read ({error}); train it again") from error
    add_lora(hf, Lora(content["r"], content["lora_alpha"], tuple(content["target_modules"])), seed=0)
    wanted = {name: p for name, p in hf.named_parameters() if _is_own(name)}
    names = {f"{PREFIX}{name}".replace(f".{NAME}.", "."): name for name in wanted}
    if found.keys() != names.keys():
        odd = sorted(found.keys() ^ names.keys())[0]
        raise ParentError(f"{folder}: the adapter does not fit a {hf.config.model_type} ({odd}); train it again")
    with torch.no_grad():
        for name, weight in found.items():
            wanted[names[name]].copy_(weight)
