"""Sizes in conf/model: what init=random would build is the model that was published."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from launch.composition.compose import CONF

# Parameters in millions, and vocabulary, as on the model cards.
PUBLISHED = {
    "gpt2": (124.4, 50257),
    "gpt2-medium": (354.8, 50257),
    "gpt2-large": (774.0, 50257),
    "gpt2-xl": (1557.6, 50257),
    "smollm2-135m": (134.5, 49152),
    "qwen2.5-0.5b": (494.0, 151936),
    "llama-3.2-1b": (1235.8, 128256),
}


def architecture(name: str) -> dict[str, Any]:
    content = yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = content.get("model", content)["architecture"]
    return found


FAST = ("gpt2", "smollm2-135m")
"""The larger ones take seconds each, even without memory."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in PUBLISHED]
)
def test_random_models_have_the_published_size(name: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    millions, vocabulary = PUBLISHED[name]
    config = AutoConfig.for_model(**({"vocab_size": vocabulary} | architecture(name)))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert model.num_parameters() / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("name", ["tiny", *PUBLISHED])
def test_sizes_are_keys_that_transformers_knows(name: str) -> None:
    """An unknown key would be kept in the configuration and change nothing."""
    from transformers import AutoConfig

    sizes = architecture(name)
    known = AutoConfig.for_model(sizes["model_type"])
    unknown = {key for key in sizes if not hasattr(known, key)} - {"rope_theta"}
    assert unknown == set()
    if "rope_theta" in sizes:
        # Moved into a dictionary of its own in transformers 5, and still read from here.
        assert AutoConfig.for_model(**sizes).rope_parameters["rope_theta"] == sizes["rope_theta"]
