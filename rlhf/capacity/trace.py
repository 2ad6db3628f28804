"""A stage's models without weights, and the log of what one micro-batch of its training allocates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.capacity.flops import Shape, shape_of
from rlhf.capacity.meter import ROOT, Log, Meter, autocast, fake
from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel, ScoreModel, count_parameters
from rlhf.models.parallel.offload import SMALLEST as WORTH_MOVING
from rlhf.models.parallel.sharding import blocks
from rlhf.rollout.packed import SMALLEST


@dataclass(frozen=True)
class Sizes:
    """Numbers of entries of a model.

    Attributes:
        total: parameters, tied ones once; trainable: those that learn.
        root: parameters outside of the blocks: embeddings, last norm, heads; block: of the largest block.
        linear: of the backbone's linear layers, which can be quantised.
        packed: of the weights that decoding copies on CPU.
        cache: keys and values of a token, in all layers.
        shape: what its arithmetic depends on.
    """

    total: int
    trainable: int
    root: int
    block: int
    linear: int
    packed: int
    cache: int
    shape: Shape


def sizes_of(model: LanguageModel | ScoreModel) -> Sizes:
    """Sizes of a model, which may be without weights."""
    from transformers.pytorch_utils import Conv1D

    inner = groups(model)
    root = inner.pop(ROOT)
    config = model.hf.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def products(modules: Iterable[nn.Module]) -> list[int]:
        return [module.weight.numel() for module in modules if type(module) in (nn.Linear, Conv1D)]  # type: ignore[operator]

    return Sizes(
        count_parameters(model),
        sum(p.numel() for p in model.parameters() if p.requires_grad),
        sum(p.numel() for p in root),
        max((sum(p.numel() for p in block) for block in inner.values()), default=0),
        sum(products(model.hf.base_model.modules())),
        sum(numbers for numbers in products(model.modules()) if numbers >= SMALLEST),
        2 * config.num_hidden_layers * heads * width,
        shape_of(model.hf),
    )


def groups(model: LanguageModel | ScoreModel) -> dict[str, list[nn.Parameter]]:
    """Parameters that are sharded together: each block's, and the root's, which has the rest."""
    found = {str(number): list(block.parameters()) for number, block in enumerate(blocks(model))}
    inner = {id(parameter) for parameters in found.values() for parameter in parameters}
    return {ROOT: [p for p in model.parameters() if id(p) not in inner]} | found


@dataclass
class Tracer:
    """Traces micro-batches through models that `build` makes; to be made once, since models take seconds to make.

    Args:
        build: makes what learns, by name: `policy` (a `LanguageModel`), `critic` or `scorer` (a `ScoreModel`).
        mixed: bf16 arithmetic on fp32 weights; half: bf16 weights, as shards are gathered.
        offload: what the backward pass needs goes to the host until then (`rlhf/models/parallel/offload.py`).
        temperature, want_entropy: of the policy's forward pass.
        full_kl: whether the reference's states and head take part (`algo.kl_in=loss algo.kl_estimator=full`).
        frozen: makes what only answers, for its sizes.

    Attributes:
        models: what learns; sizes: of those; frozen_sizes: of the others.
    """

    build: Callable[[], dict[str, Any]]
    mixed: bool = False
    half: bool = False
    offload: bool = False
    temperature: float = 1.0
    want_entropy: bool = False
    full_kl: bool = False
    frozen: Callable[[], dict[str, Any]] = dict

    def __post_init__(self) -> None:
        # Made on the meta device, since modules of fake tensors can't be converted, as peft converts what it adds.
        with torch.device("meta"), precision(torch.bfloat16 if self.half else torch.float32):
            self.models = self.build()
            self.frozen_sizes = {name: sizes_of(model) for name, model in self.frozen().items()}
        self.sizes = {name: sizes_of(model) for name, model in self.models.items()}
        self.mode = fake()
        with self.mode:
            for model in self.models.values():
                pretend(model)

    def update(self, rows: Sequence[Row], only: str | None = None) -> Log:
        """Forward and backward pass of one micro-batch, through all models that learn, or only one."""
        meter = Meter()
        for model in self.models.values():
            meter.know([*model.parameters(), *model.buffers()])
            model.zero_grad(set_to_none=True)
        batch = self._batch(rows)
        with self.mode, meter:
            away = moved_away(self.models.values(), meter.log) if self.offload else nullcontext()
            with autocast(self.mixed), away:
                loss = self._loss(batch, meter, only)
            loss.backward()
            for name, model in self.models.items():
                for group, parameters in groups(model).items():
                    meter.gradients_of(name, group, parameters)
        return meter.log

    def _loss(self, batch: Batch, meter: Meter, only: str | None) -> Tensor:
        """As the stages' own, but for sums and weights of a few numbers a token."""
        terms: list[Tensor] = []
        for name, model in self.models.items():
            if only not in (None, name):
                continue
            with meter.of(name):
                if isinstance(model, ScoreModel):
                    terms.append(model(batch, at="sources" if name == "critic" else "ends").sum())
                    continue
                reference = None
                if self.full_kl:
                    with torch.no_grad():
                        reference = (model.target_states(batch), model.head)
                stats = model(batch, temperature=self.temperature, want_entropy=self.want_entropy, reference=reference)
                found = (stats.logprobs, stats.entropy, stats.kl, stats.values)
                terms += [values.sum() for values in found if values is not None]
        return torch.stack(terms).sum()

    def _batch(self, rows: Sequence[Row]) -> Batch:
        batch = collate(rows)
        tensors = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
        found = {name: self.mode.from_tensor(t) for name, t in tensors.items() if isinstance(t, Tensor)}
        return dataclasses.replace(batch, **found)


def pretend(model: nn.Module) -> None:
    """Replace tensors of the meta device by such that claim to be on CPU, in place; to be called within `fake()`."""
    found: dict[int, Tensor] = {}

    def replaced(tensor: Tensor) -> Tensor:
        if id(tensor) not in found:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
            trained = isinstance(tensor, nn.Parameter)
            found[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if trained else empty
        return found[id(tensor)]

    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            own: Any = tensors
            own.update({name: replaced(tensor) for name, tensor in own.items() if tensor is not None})


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """A context in which new weights have this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def moved_away(models: Iterable[nn.Module], log: Log) -> Iterator[None]:
    """Within, what autograd saves is not kept, but counted in `log.moved`, and made anew when it is asked for."""
    stay = {p.untyped_storage()._cdata for model in models for p in model.parameters()}

    def pack(tensor: Tensor) -> Any:
        if tensor.numel() < WORTH_MOVING or tensor.untyped_storage()._cdata in stay:
            return tensor
        log.moved += tensor.nbytes
        return tensor.shape, tensor.dtype

    def unpack(kept: Any) -> Tensor:
        return kept if isinstance(kept, Tensor) else torch.empty(kept[0], dtype=kept[1])

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
