"""How a loaded model may be given rows: as trees side by side, or one padded line a response; found out by trying.

Whether an architecture reads the tree mask can't be seen from outside: layers that are not attention (Mamba,
convolutions, linear attention) carry their state over from one row to the next without a word. So a few random tokens
are read side by side, and must come out as in plain passes of each response alone; where they don't, padded lines must.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row
from rlhf.data.unfolding import unfolded
from rlhf.errors import ParentError, first_line
from rlhf.models.language import backbone_states
from rlhf.models.layout.attention import Trees, read_trees
from rlhf.models.layout.layouts import Layout, arranged, lay_out, layout_of
from rlhf.models.sizes import context_of

log = logging.getLogger("rlhf")

LENGTHS, SHORTEST = ((3, (2, 3)), (2, (4,))), ((1, (1, 1)), (1, (1,)))
"""Tokens of prompts and responses that are tried: a row that branches, and one beside it. The second, for contexts that
the first don't fit."""

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Of ‖states − plain states‖ / ‖plain states‖. In fp32, exact layouts stay below 1e-5, leaks begin at 1e-3."""

ROUNDINGS = 4
"""Weights that cancel each other magnify rounding, on some processors more than on others: as many times the distance
that one rounding of the embeddings makes is tolerated too."""

WINDOWS = re.compile("(sliding_window|window_size|attention_chunk_size|local_attention)$")
"""Keys of how far attention looks back. Probes are shorter than that, so masks with windows are seen only here."""

CHANCE = "two passes over the same tokens differ in training mode though all dropout is off"

_said: set[str] = set()


@torch.no_grad()
def choose_layout(hf: Any, where: str) -> None:
    """Try a model of `transformers`, and set up how it is given rows from now on, in place.

    Args:
        where: what the user passed, such as `model.init=…`, which error messages begin with.

    Raises:
        ParentError: a weight is not finite, the model is random though dropout is off, or no layout is exact.
    """
    check_finite(hf, where)
    kind = hf.config.model_type
    batch = _batch(hf)
    parameter = hf.get_input_embeddings().weight
    quantized = getattr(hf, "hf_quantizer", None) is not None
    tolerance = TOLERANCE[torch.bfloat16 if quantized else parameter.dtype]
    settable = hf._can_set_attn_implementation()
    loaded = hf.config._attn_implementation
    training = hf.training
    with torch.random.fork_rng(devices=[parameter.device] if parameter.is_cuda else []):
        hf.eval()
        if settable and loaded != "eager":
            hf.set_attn_implementation("eager")  # what all others are meant to equal
        try:
            truth = plain_states(hf.base_model, batch)
        except Exception as error:
            raise ParentError(f"{where}: architecture {kind} is not supported because {_reason(error)}") from error
        hf.train()
        attempts: list[tuple[Layout, Callable[[], Any]]] = [
            ("tree", lambda: read_trees(hf)),
            ("padded", lambda: settable and hf.set_attn_implementation(loaded)),
            ("padded", lambda: settable and hf.set_attn_implementation("eager")),
        ]
        reasons, measured = [], False
        for layout, prepare in attempts:
            if layout == "tree" and not settable:
                continue
            prepare()
            reason = _differs(hf, layout, batch, truth, tolerance)
            if reason is not None and not measured:
                measured = True
                if settable:
                    hf.set_attn_implementation("eager")
                if (rounding := ROUNDINGS * _rounding(hf, batch, truth)) > tolerance:
                    tolerance = rounding
                prepare()
                reason = _differs(hf, layout, batch, truth, tolerance)
            if reason == CHANCE:
                raise ParentError(f"{where}: architecture {kind} is not supported because {reason}")
            if reason is None:
                break
            reasons.append(reason)
        else:
            raise ParentError(f"{where}: architecture {kind} is not supported because {reasons[-1]}")
    lay_out(hf, layout)
    hf.train(training)
    if layout == "padded" and kind not in _said:
        _said.add(kind)
        log.warning(
            "%s: %s can't read several rows or responses in one line; each response gets a padded line with its "
            "prompt, which is exact but slower",
            where,
            kind,
        )


@torch.no_grad()
def guess_layout(hf: Any) -> None:
    """Set a model on the meta device up for the layout that it probably gets, in place, without numbers to compare.

    Trees, unless a pass over them fails or there is a convolution, as in nearly all layers that carry state along.
    """
    lay_out(hf, "padded")
    if not hf._can_set_attn_implementation() or any(isinstance(module, nn.Conv1d) for module in hf.modules()):
        return
    loaded, batch, training = hf.config._attn_implementation, _batch(hf), hf.training
    hf.eval()  # some draw which layers to skip in training, and compare what they drew, which has no number here
    try:
        backbone_states(read_trees(hf).base_model, batch)
        lay_out(hf, "tree")
    except Exception:
        hf.set_attn_implementation(loaded)
    hf.train(training)


def plain_states(backbone: nn.Module, batch: Batch) -> list[Tensor]:
    """Last hidden states [T, D] of each response with its prompt, read alone: no mask, no cache, no positions.

    Without the first response: whatever leaks shows in those that follow.
    """
    lines = unfolded(batch)
    return [
        backbone(input_ids=tokens[None, :length], use_cache=False).last_hidden_state[0]
        for tokens, length in list(zip(lines.tokens, lines.lengths, strict=True))[1:]
    ]


def _rounding(hf: Any, batch: Batch, truth: list[Tensor]) -> float:
    """How far the states of plain passes move when each number of the embeddings is rounded once more."""
    draw = torch.Generator().manual_seed(0)

    def rounded(module: nn.Module, args: Any, out: Tensor) -> Tensor:
        return out * (1 + torch.finfo(out.dtype).eps * torch.randn(out.shape, generator=draw).to(out))

    training = hf.training
    hook = hf.eval().get_input_embeddings().register_forward_hook(rounded)  # as the truth: without dropout that is left
    try:
        return distance(plain_states(hf.base_model, batch), truth)
    finally:
        hook.remove()
        hf.train(training)


def states_of(hf: Any, batch: Batch, trees: Trees) -> list[Tensor]:
    """The same, read in the model's layout."""
    states = backbone_states(hf.base_model, arranged(hf, batch), trees)
    if layout_of(hf) == "padded":
        return [line[:length] for line, length in zip(states, unfolded(batch).lengths, strict=True)][1:]
    found, first = [], 0
    for prompt, responses in zip(batch.prompt_lengths, batch.response_lengths, strict=True):
        begin = first + prompt
        for response in responses:
            found.append(torch.cat([states[0, first : first + prompt], states[0, begin : begin + response]]))
            begin += response
        first = begin
    return found[1:]


def distance(found: list[Tensor], truth: list[Tensor]) -> float:
    """Largest relative distance of the states of a token; infinite where one is not finite."""
    worst = max(float(((a - b).norm(dim=-1) / b.norm(dim=-1)).max()) for a, b in zip(found, truth, strict=True))
    return worst if worst == worst else float("inf")


def check_finite(hf: Any, where: str) -> None:
    """Refuse weights that are not finite, by name.

    Raises:
        ParentError: there is one.
    """
    for name, weight in hf.named_parameters():
        # The sum is read once; only where it is not finite are the entries looked at.
        if weight.is_floating_point() and not weight.sum().isfinite() and (bad := int((~weight.isfinite()).sum())):
            raise ParentError(
                f"{where}: {bad} of {weight.numel()} numbers of the tensor {name} are not finite (NaN or infinity); "
                "use an export from before, or download the model again"
            )


def _differs(hf: Any, layout: Layout, batch: Batch, truth: list[Tensor], tolerance: float) -> str | None:
    """Why states in this layout are not what plain passes give; `None` where they are."""
    lay_out(hf, layout)
    windows = _windows(hf.config.get_text_config()) if layout == "tree" else set()
    trees = Trees.of(batch)
    try:
        found, again = (states_of(hf, batch, trees) for _ in range(2))
    except Exception as error:
        return _reason(error)
    if distance(again, found) > tolerance:
        return CHANCE
    if (far := distance(found, truth)) > tolerance:
        return f"rows in one line influence each other (states differ by {far:.1g} of their norm)"
    if unread := windows - trees.windows:
        return f"its attention hides a window of {min(unread)} tokens"
    return None


def _windows(config: Any) -> set[int]:
    """Windows that a configuration says attention has."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and not any(re.search("sliding|chunk|local|window", str(kind)) for kind in kinds):
        return set()
    used = getattr(config, "use_sliding_window", True) is not False
    return {v for name, v in vars(config).items() if used and isinstance(v, int) and v > 0 and WINDOWS.search(name)}


def _batch(hf: Any) -> Batch:
    """Random tokens, the same for each model of a size."""
    embedding = hf.get_input_embeddings().weight
    draw = random.Random(0)
    vocabulary = min(embedding.shape[0], hf.config.get_text_config().vocab_size)

    def ids(length: int) -> tuple[int, ...]:
        # The first ids are special in many vocabularies, such as padding, whose embedding some architectures mask.
        return tuple(draw.randrange(min(3, vocabulary - 1), vocabulary) for _ in range(length))

    context = context_of(hf) or 6
    lengths = LENGTHS if context >= 6 else SHORTEST
    rows = [Row(ids(prompt), tuple(ids(length) for length in responses)) for prompt, responses in lengths]
    return collate(rows).to(embedding.device)


def _reason(error: Exception) -> str:
    return f"its forward pass fails ({type(error).__name__}: {first_line(error)})"
