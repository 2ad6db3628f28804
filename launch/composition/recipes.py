"""Learning rates that no one typed: by the stage, by the size of the model, and ten times as high for adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rlhf.config import algorithms

ADAPTER_FACTOR = 10.0
"""Best rate of LoRA over that of full fine-tuning (Schulman et al. 2025; alignment-handbook: 2e-4 and 2e-5 in SFT,
5e-6 and 5e-7 in DPO of Zephyr 7B)."""

RESOLVER = "stage_lr"


def register() -> None:
    """Let configuration files say `${stage_lr:{sft:1e-5, dpo:5e-7}}`; a stage that is not named takes
    the rate of the one that it is like (`rate_as`), else its default."""
    OmegaConf.register_new_resolver(RESOLVER, lambda rates=None, *, _root_: _rate(rates or {}, _root_), replace=True)


def _rate(rates: Mapping[str, float], root: DictConfig) -> float:
    # Rounded, since 5e-7 times 10 is not the float that `5e-6` is.
    return float(f"{_full_rate(rates, root) * _factor(root):.6g}")


def _full_rate(rates: Mapping[str, float], root: DictConfig) -> float:
    algo = algorithms()[root.algo.name]
    named = next((name for name in (algo.name, algo.rate_as) if name in rates), None)
    return float(algo.lr if named is None else rates[named])


def _factor(root: DictConfig) -> float:
    return ADAPTER_FACTOR if root.model.adapter == "lora" else 1.0


def is_rate(node: Any) -> bool:
    """Whether a node's value is a link to this resolver."""
    return str(node._value()).startswith(f"${{{RESOLVER}:")


def adapter_note(composed: DictConfig) -> str | None:
    """The log line about a learning rate that was raised for adapters; `None` where it was not, or was given."""
    algo = composed.get("algo")
    if algo is None or not OmegaConf.is_interpolation(algo, "lr") or "model" not in composed:
        return None
    if _factor(composed) == 1:
        return None
    return (
        f"algo.lr: {algo.lr:g}, ten times the {algo.lr / ADAPTER_FACTOR:g} of full fine-tuning, for model.adapter="
        "lora; give algo.lr to choose another"
    )
