"""The line that every result begins with: the card, its driver, and the versions of the libraries."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.gpu.parts import Context

PACKAGES = ("torch", "triton", "transformers", "lightning", "peft", "trl", "bitsandbytes", "hydra-core")


def facts(context: Context) -> dict[str, Any]:
    """Card, driver and versions.

    Raises:
        RuntimeError: PyTorch sees no GPU, and one was asked for.
    """
    import torch

    found: dict[str, Any] = {"python": platform.python_version(), "cores": len(os.sched_getaffinity(0))}
    found["versions"] = {name: known for name in PACKAGES if (known := version_of(name)) is not None}
    if context.device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no GPU here; --device cpu --tiny rehearses without one")
        card = torch.cuda.get_device_properties(0)
        torch.zeros(1, device="cuda")  # starts CUDA, so that no part pays for it
        found |= {
            "card": card.name,
            "memory_bytes": card.total_memory,
            "multiprocessors": card.multi_processor_count,
            "capability": f"{card.major}.{card.minor}",
            "cuda": torch.version.cuda,
            "driver": driver(),
        }
        head = f"{card.name}, {card.total_memory / 1e9:.0f} GB, driver {found['driver']}, CUDA {found['cuda']}"
    else:
        found["card"] = None
        head = f"no GPU: {found['cores']} cores of {platform.machine()}"
    libraries = ", ".join(f"{name} {known}" for name, known in found["versions"].items())
    return {"line": f"{head}; Python {found['python']}, {libraries}"} | found


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def driver() -> str | None:
    """Of the GPU, as nvidia-smi knows it; `None` where there is no such program."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip().splitlines()[0] if said.returncode == 0 and said.stdout.strip() else None
