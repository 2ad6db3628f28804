"""Reads the transaction log that W&B writes offline: LevelDB's log format with records of wandb's own protobuf."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def chunks(path: Path) -> Iterator[bytes]:
    """The records' bytes, put together where they span blocks."""
    data, at, parts = path.read_bytes(), FILE_HEADER, b""
    assert data[:4] == b":W&B"
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        part = data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        parts = part if kind in (FULL, FIRST) else parts + part
        if kind in (FULL, LAST):
            yield parts


@dataclass(frozen=True)
class Artifact:
    """`used`: an input of the run; otherwise it made it. `digest`: equal for equal content."""

    name: str
    type: str
    used: bool
    metadata: dict[str, Any]
    digest: str
    files: list[str]


class OfflineRun:
    """What `wandb sync` would send of the offline runs below a run directory.

    Attributes:
        run: the run's own record. config: as last set, nested. history: rows logged.
        summary: final numbers, as far as they were set and not logged. exit_code: `None` where it was left open.
        axes: metric or glob → step metric. artifacts: `Artifact`, those of tables left out. alerts: titles.
    """

    def __init__(self, directory: Path) -> None:
        from wandb.proto import wandb_internal_pb2

        self.config: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.axes: dict[str, str] = {}
        self.artifacts: list[Artifact] = []
        self.alerts: list[str] = []
        self.summary: dict[str, Any] = {}
        self.exit_code: int | None = None
        (self.folder,) = directory.glob("wandb/offline-run-*")
        (file,) = self.folder.glob("*.wandb")
        for chunk in chunks(file):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(chunk)
            self._take(record.WhichOneof("record_type"), record)

    def _take(self, kind: str | None, record: Any) -> None:
        if kind == "run":
            self.run = record.run
            self._configure(record.run.config.update)
        elif kind == "config":
            self._configure(record.config.update)
        elif kind == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            self.history.append(row)
        elif kind == "metric":
            self.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact":
            a = record.artifact
            files = [entry.path for entry in a.manifest.contents]
            found = Artifact(a.name, a.type, a.use_after_commit, json.loads(a.metadata or "{}"), a.digest, files)
            self.artifacts += [found] if a.type != "run_table" else []
        elif kind == "summary":
            for item in record.summary.update:
                self.summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        elif kind == "exit":
            self.exit_code = record.exit.exit_code
        elif kind == "alert":
            self.alerts.append(record.alert.title)

    def _configure(self, items: Any) -> None:
        for item in items:
            self.config[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)

    def values(self, name: str) -> list[Any]:
        """Of a metric, row by row."""
        return [row[name] for row in self.history if name in row]

    def table(self, name: str) -> dict[str, Any]:
        """Columns and data of the last table of this name."""
        path = self.folder / "files" / self.values(f"{name}/path")[-1]
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content
