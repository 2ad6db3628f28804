"""`summary.json`: what a run was, how far it came, and what it cost."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any, NotRequired, TypedDict, get_type_hints

from rlhf.errors import ParentError
from rlhf.runs.files import atomic_write_json
from rlhf.storage.inside import no_links
from rlhf.storage.reading import Unreadable, read_json
from rlhf.storage.shapes import fits

STATUSES = ("running", "finished", "failed", "interrupted", "waiting")
PACKAGES = ("torch", "lightning", "transformers", "hydra-core", "tokenizers", "rlhf-lab")
FILE = "summary.json"
SHORT = 160
"""Characters of an error that are kept where there is no space for more."""


def now() -> str:
    """UTC, to the microsecond, so that text order is time order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def versions() -> dict[str, str]:
    """Versions of what can change a result; read from package metadata, since importing torch takes seconds."""
    found = {"python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class ParentRecord(TypedDict):
    """A parent in a summary."""

    kind: str
    directory: NotRequired[str | None]
    sha256: NotRequired[str | None]
    reason: NotRequired[str]


@cache
def _types() -> dict[str, Any]:
    """Of each field, as it may stand in a file; numbers that were not finite when a run ended count as missing."""
    return {**get_type_hints(Summary), "final": dict[str, Any]}


@dataclass
class Summary:
    """The content of `summary.json`; DESIGN names the keys.

    Attributes:
        steps: optimiser updates so far (PPO: iterations).
        resumed_from: step that the latest continuation started from.
        wall_seconds: over all continuations.
        train_tokens_per_second: trained tokens without padding.
        peak_memory_bytes: sum over ranks.
        final: last metrics.
        parents: by key (`model.init`, `algo.reward_model`): `kind`, `directory`, `sha256`, `reason`.
        model_sha256: of the export's safetensors.
        stopped: why a finished run ended before its last step (`train.stop_at`).
        error: the sentence or exception that a failed run ended with.
        data_cards: of prepared data that it read, or made: `name`, `path`, `sha256` of the card.
        wandb_id: of the run in Weights & Biases, if it is logged there.
    """

    status: str = "running"
    id: str = ""
    algo: str = ""
    model: str = ""
    data: str = ""
    steps: int = 0
    resumed_from: int | None = None
    wall_seconds: float = 0.0
    train_tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    final: dict[str, float] = field(default_factory=dict)
    parents: dict[str, ParentRecord] = field(default_factory=dict)
    seed: int = 0
    overrides: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=versions)
    model_sha256: str | None = None
    data_cards: list[dict[str, str]] = field(default_factory=list)
    started_at: str = field(default_factory=now)
    finished_at: str | None = None
    stopped: str | None = None
    error: str | None = None
    wandb_id: str | None = None

    @staticmethod
    def read(directory: Path) -> Summary:
        """The summary of a run directory. Keys that this version doesn't know are left out.

        Raises:
            ParentError: there is none, or it can't be understood.
        """
        path = directory / FILE
        try:
            content = read_json(path)
            if not isinstance(content, dict):
                raise Unreadable("not a JSON object")
            known = {name: value for name, value in content.items() if name in _types()}
            if odd := [name for name, value in known.items() if not fits(value, _types()[name])]:
                raise Unreadable(f"{odd[0]} is {str(known[odd[0]])[:80]!r}, which it can't be")
            final = {name: value for name, value in known.get("final", {}).items() if fits(value, float)}
            summary = Summary(**{**known, "final": final})
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ParentError(f"{directory}: not a run directory, it holds no {FILE}") from error
        except (OSError, Unreadable) as error:
            raise ParentError(f"{path}: not a summary that can be read: {error}") from error
        if summary.status not in STATUSES:
            raise ParentError(f"{path}: status {summary.status!r} is not one of {' | '.join(STATUSES)}")
        return summary

    def write(self, directory: Path) -> None:
        """Write `summary.json`, whole or not at all."""
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r} is not one of {STATUSES}")
        atomic_write_json(directory / FILE, dataclasses.asdict(self))

    def overwrite(self, directory: Path) -> bool:
        """Write into the blocks that the file already has, where a full disk has none for a new one.

        Returns: whether it fitted: without indentation it mostly does.
        """
        content = dataclasses.asdict(self)
        try:
            with open(directory / FILE, "r+b", opener=no_links) as stream:
                size = os.fstat(stream.fileno()).st_size
                for length in (SHORT, SHORT // 4, 0):
                    content["error"] = self.error and self.error[:length]
                    text = json.dumps(content, separators=(",", ":")).encode()
                    if len(text) <= size:
                        stream.write(text.ljust(size))
                        return True
        except OSError:
            pass
        return False
