"""Makes the golden values in `golden/` with other people's libraries, each in an environment of its own.

    python -m venv trl && trl/bin/pip install -r tests/parity/requirements-trl.txt
    trl/bin/python tests/parity/make_golden.py trl           # and trl_pairs, trl_unpaired, trl_on_policy

    python -m venv torchtune && torchtune/bin/pip install -r tests/parity/requirements-torchtune.txt
    torchtune/bin/python tests/parity/make_golden.py torchtune

Made with Python 3.11. Where a convention differs from ours it is translated in `golden_*.py`, or in `test_parity.py`
where only our side can follow, with a comment; the libraries' own code is called as it is. Inputs are random, in fp64,
and rounded to what the file holds before they are used. Nothing here imports `rlhf`.
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def plain(x: Any) -> Any:
    """Ten digits: two more than the comparison needs, and files stay small."""
    if isinstance(x, Tensor):
        return plain(x.detach().int().tolist() if x.dtype == torch.bool else x.detach().tolist())
    if isinstance(x, dict):
        return {name: plain(value) for name, value in x.items()}
    if isinstance(x, list):
        return [plain(value) for value in x]
    return float(f"{x:.10g}") if isinstance(x, float) else x


def write(library: str) -> Path:
    module = import_module(f"golden_{library}")
    made_with = {package: version(package) for package in module.PACKAGES} | {"python": platform.python_version()}
    golden: dict[str, Any] = {"made_with": made_with} | {name: plain(make()) for name, make in module.MAKERS.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in golden.items())
    path = GOLDEN / f"{library}.json"
    path.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made = sorted(path.stem.removeprefix("golden_") for path in Path(__file__).parent.glob("golden_*.py"))
    parser.add_argument("library", choices=made)
    torch.set_num_threads(1)
    print(write(parser.parse_args().library))
