from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.activations import NewGELUActivation

from rlhf.models.fused import fuse_activations


def test_gpt2s_gelu_becomes_one_kernel_with_the_same_values_and_gradients(
    make_hf: Callable[..., Any], architectures: dict[str, dict[str, Any]]
) -> None:
    ids = torch.arange(12)[None]
    results = []
    for fused in (False, True):
        hf = make_hf("causal", architectures["gpt2"])
        if fused:
            fuse_activations(hf)
        logits = hf(input_ids=ids).logits
        logits.square().sum().backward()
        results.append((logits, hf.transformer.h[0].mlp.c_fc.weight.grad))
    kinds = [type(module) for module in hf.modules()]
    assert kinds.count(nn.GELU) == 2 and NewGELUActivation not in kinds
    assert hf.config.activation_function == "gelu_new"
    for plain, fused_one in zip(*results, strict=True):
        torch.testing.assert_close(fused_one, plain, atol=1e-5, rtol=1e-4)
        assert plain.abs().max() > 1
