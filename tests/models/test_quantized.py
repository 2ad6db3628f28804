"""Frozen weights of 8 and 4 bits, with bitsandbytes' kernels for CPU: nothing here has run on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.errors import ConfigError
from rlhf.models import quantized
from rlhf.models.adapters import Lora, add_lora, share
from rlhf.models.files import loading
from rlhf.models.files.export import export
from rlhf.models.language import ScoreModel

ROWS = [Row((1, 2, 3), ((4, 5, 6, 7, 8), (9,))), Row((11,), ((12, 13), (14, 15, 16), (17,)))]
WIDE: dict[str, dict[str, Any]] = {"gpt2": {"n_embd": 64}, "llama": {"hidden_size": 64, "intermediate_size": 128}}
"""bitsandbytes quantises blocks of 64."""


def says(model: Any) -> torch.Tensor:
    found: Any = model(collate(ROWS))
    return found if isinstance(model, ScoreModel) else found.logprobs


def test_refused_without_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("tells what is said without a GPU, and there is one here")
    assert quantized.quantization("none") == {}
    with pytest.raises(ConfigError, match=r"model.quantize: 4bit needs a GPU, and PyTorch sees none here"):
        quantized.quantization("4bit")


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")

    def quantization(bits: str) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            options = quantized.quantization(bits)
        return options | ({"device_map": {"": "cpu"}} if options else {})

    monkeypatch.setattr(loading, "quantization", quantization)
    yield


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize(("bits", "near"), [("8bit", 1e-4), ("4bit", 0.1)])
@pytest.mark.parametrize("load", [loading.load_policy, loading.load_scorer])
def test_trained_shared_and_exported_whole(
    load: Any, bits: str, near: float, name: str, on_cpu: None, architectures: dict[str, Any], tmp_path: Path
) -> None:
    tokenizer = load_tokenizer("tiny")
    export(loading.load_policy(None, architectures[name] | WIDE[name], tokenizer, seed=0), tokenizer, tmp_path / "base")
    model = load(str(tmp_path / "base"), {}, tokenizer, seed=0, quantize=bits)
    before = says(model)
    shared = type(model)(share(model.hf))
    add_lora(model.hf, Lora(r=4), seed=0)
    assert torch.equal(says(model), before)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if ".lora_B." in parameter_name:
                parameter.normal_(std=0.3)
    after = says(model)
    after.sum().backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, p in model.named_parameters() if ".lora_" in n or "score" in n}
    export(model, tokenizer, tmp_path / "model")
    merged = load(str(tmp_path / "model"), {}, tokenizer, seed=0)
    # Weights of 4 bits are multiplied in bf16.
    torch.testing.assert_close(says(merged), after, atol=near, rtol=0)
    assert (after - before).abs().max() > 5 * near
    assert torch.equal(says(model), after)
    assert torch.equal(says(shared), before)
    sizes = {p.dtype for p in merged.parameters()}
    assert sizes == {torch.float32}
