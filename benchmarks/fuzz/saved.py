"""Files that are read back, damaged: run directories, model folders and caches."""

from __future__ import annotations

import atexit
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save

from benchmarks.fuzz.texts import mixed, mutated
from lightning_modules.preference.reference import Reference
from rlhf.data.rows import Row
from rlhf.data.templates.stops import stop_ids
from rlhf.errors import UserError
from rlhf.evaluation.judges.calls import Cache
from rlhf.reporting.gather import gather, read_evaluation
from rlhf.reporting.run_files import read_rows, read_samples
from rlhf.runs import Summary
from rlhf.runs.checkpoints import checkpoint_path, newest_whole, write_checkpoint
from rlhf.runs.files import atomic_write_text
from rlhf.runs.listing import read_config
from rlhf.runs.parents import from_given
from rlhf.storage.adapter_folder import base_of
from rlhf.storage.weights import remembered, weight_files

VALUES: list[Any] = [
    None, True, -1, 0, 1.5, 1e308, math.nan, math.inf, 10**40, "", "text", "\ud800", "\x00", "/", "../x", [], {}, [[]],
    [{}], {"": None}, {"a": [1]}, "9" * 5000,
]  # fmt: skip
PARTS = [
    "{", "}", "[", "]", ":", ",", '"', "null", "NaN", "-Infinity", "1e999", "9" * 5000, "[" * 2000, '{"a":' * 2000,
    "&a [*a]", "!!python/object:os.system", "!!int ''", "\n", "step", "\\ud800", "- " * 200, "'", "0x", "1_0", "1:2:3",
]  # fmt: skip
SUMMARY = Summary(status="finished", id="0" * 12, algo="sft", model="tiny", data="toy", final={"val/loss": 1.5})
RUN = {"algo": {"name": "sft", "lr": 1e-3}, "model": {"name": "tiny"}, "train": {"max_steps": 4}, "seed": 0}
SAMPLE = {"step": 2, "prompt": [["user", "Why?"]], "response": "So.", "tokens": 3, "kl": 0.5}
MODEL = {"metrics": {"score": {"value": 1.0, "low": 0.5, "high": 1.5}}, "run": "", "answers": 4}
EVALUATION = {"models": {"mine": MODEL}, "judge": "gold", "prompts": 4}
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 64, "eos_token_id": [1, 5]}
INDEX = {"metadata": {"total_size": 8}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
ADAPTER = {"base_model_name_or_path": "owner/name", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
METRICS = "step,train/loss,val/loss\n1,2.5,\n2,2.25,2.5\n"
ROWS = {"train": [Row((1, 2), ((3,), (4, 5)), ((0, 1),), index=4)]}


@cache
def folder() -> Path:
    """A folder of this process; the model's weights in it are whole."""
    made = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    for name in ("model-1", "model-2", "adapter_model"):
        (made / f"{name}.safetensors").write_bytes(save({"a": torch.zeros(2)}))
    (made / "checkpoints").mkdir()
    (made / "00").mkdir()
    write_checkpoint(checkpoint_path(made, 4), {"step": 4, "weight": torch.zeros(3)})
    return made


@cache
def checkpoint() -> bytes:
    return checkpoint_path(folder(), 4).read_bytes()


@cache
def reference() -> bytes:
    path = folder() / "valid.safetensors"
    Reference(ROWS).write(path, {"train/4": torch.tensor([-1.5, -2.0])})
    content = path.read_bytes()
    path.unlink()
    return content


def one(random: Random) -> str:
    """An input; returns what became of it."""
    name = random.choice(sorted(TARGETS))
    file, content, read = TARGETS[name]
    path = folder() / file
    valid = content() if callable(content) else content
    path.write_bytes(damaged(random, valid) if isinstance(valid, bytes) else _text(random, valid))
    try:
        read(path)
    except UserError as error:
        assert str(error).strip()
        return f"{name} refused"
    finally:
        path.unlink()
    return f"{name} read or left out"


def damaged(random: Random, content: bytes) -> bytes:
    """Bytes with some pieces taken out, doubled or replaced."""
    for _ in range(random.randint(0, 4)):
        a, b = sorted(random.randrange(len(content) + 1) for _ in range(2))
        piece = random.choice([content[a : a + 9] * 2, b"", random.randbytes(random.randint(1, 9)), b"\xff\xfe"])
        content = content[:a] + piece + content[random.choice((b, a, a + len(piece))) :]
    return content


def _text(random: Random, valid: Any) -> bytes:
    text = valid if isinstance(valid, str) else json.dumps(_odd(random, valid))
    kind = random.random()
    if kind < 0.1:
        text = mixed(random, PARTS, 30)
    elif kind < 0.5 or isinstance(valid, str):
        text = mutated(random, text, PARTS)
    encoded = text.encode(random.choice(("utf-8",) * 12 + ("utf-16", "utf-8-sig", "latin-1")), "backslashreplace")
    return damaged(random, encoded) if random.random() < 0.1 else encoded


def _odd(random: Random, value: Any) -> Any:
    """The same with some values of another type, some keys gone, and some values deep within lists."""
    if random.random() < 0.06:
        return random.choice(VALUES)
    if random.random() < 0.01:
        for _ in range(random.choice((3, 90, 900))):
            value = [value]
        return value
    if isinstance(value, dict):
        return {name: _odd(random, item) for name, item in value.items() if random.random() > 0.04}
    return [_odd(random, item) for item in value] if isinstance(value, list) else value


def _summary(path: Path) -> None:
    Summary.read(path.parent)
    gather(path.parent)


def _judged(path: Path) -> None:
    found = Cache(path.parent, atomic_write_text).read(path.stem)
    assert found is None or isinstance(found, str)


def _checkpoint(path: Path) -> None:
    found, broken = newest_whole(path.parents[1], 100)
    assert found is not None and len(broken) in (0, 1), "the older one is whole"
    assert all(message for message in broken.values())


def _reference(path: Path) -> None:
    found = Reference(ROWS, store=path).stored()
    assert found is None or found["train/4"].tolist() == [-1.5, -2.0], "wrong numbers are believed"


def _remembered(path: Path) -> None:
    found = remembered(path, [["a", 1, 2]])
    assert found is None or len(found) == 64


def _samples(path: Path) -> None:
    assert all(isinstance(sample["step"], int) for sample in read_samples(path.parent))


def _rows(path: Path) -> None:
    assert all(math.isfinite(value) for row in read_rows(path) for value in row.values())


def _config(path: Path) -> None:
    stop_ids(path.parent, 0)
    from_given("model.init", str(path.parent))


TARGETS: dict[str, tuple[str, Any, Callable[[Path], Any]]] = {
    "summary": ("summary.json", vars(SUMMARY), _summary),
    "run configuration": ("config.yaml", RUN, lambda path: read_config(path.parent)),
    "metrics": ("metrics.csv", METRICS, _rows),
    "samples": ("samples.jsonl", SAMPLE, _samples),
    "evaluation": ("evaluation.json", EVALUATION, lambda path: read_evaluation(path.parent)),
    "model configuration": ("config.json", CONFIG, _config),
    "index": ("model.safetensors.index.json", INDEX, lambda path: weight_files(path.parent)),
    "generation": ("generation_config.json", {"eos_token_id": [1, 5]}, lambda path: stop_ids(path.parent, 0)),
    "adapter": ("adapter_config.json", ADAPTER, lambda path: base_of(path.parent)),
    "judge's cache": ("00/00.json", {"answer": "x", "answer_sha256": "0" * 64}, _judged),
    "reference": ("reference.safetensors", reference, _reference),
    "weights' hashes": ("hash.json", {"sha256": "0" * 64, "files": [["a", 1, 2]]}, _remembered),
    "checkpoint": ("checkpoints/step-00000008.ckpt", checkpoint, _checkpoint),
}
"""File, valid content, and what reads it."""
