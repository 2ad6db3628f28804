"""Runs the parts of a script in their order and writes down what each of them found, before the next one begins."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import Part
from benchmarks.gpu.process import ROOT, PartProcess
from rlhf.runs.files import atomic_write_json

FEWEST_SECONDS = 5.0
"""A part is not begun with less."""
LARGEST_LOG = 8 << 20
"""Bytes of the log that are kept, its end."""
PACK = ROOT / ".gpu" / "base"
"""Where pack.sh puts what it collects."""

MACHINE = Part("machine", "benchmarks.gpu.machine:facts", 90)


def parser(name: str, about: str, deadline: float) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog=f"benchmarks/gpu/{name}.sh", description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = found.add_argument
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--tiny", action="store_true", help="a rehearsal: smallest models, two steps each")
    add("--only", metavar="PART", action="append", help="repeatable; all parts where left out")
    add("--out", type=Path, help="folder of the results; $OUT, else benchmarks/results/gpu-TIME")
    add("--data", type=Path, help="folder with people's comparisons (HH-RLHF transcripts); the pack's where left out")
    add("--deadline", type=float, default=deadline, help="seconds for all parts together")
    add("--patience", type=float, default=1.0, help="the seconds of each part are multiplied by it")
    return found


def out_folder(asked: Path | None) -> Path:
    if asked is None:
        given = os.environ.get("OUT")
        asked = Path(given) if given else ROOT / "benchmarks" / "results" / f"gpu-{datetime.now():%Y-%m-%d-%H%M%S}"
    asked.mkdir(parents=True, exist_ok=True)
    return asked.absolute()


class Runner:
    """One run of a script.

    Args:
        name: of the script, and so of its files `NAME.json` and `NAME.log`.
        options: what every part is told: `device`, `tiny`, `folder`, `out`, `data`, `models`.
        deadline: seconds for all parts together.
        patience: factor of each part's own seconds.
    """

    def __init__(
        self,
        name: str,
        options: dict[str, Any],
        deadline: float,
        patience: float = 1.0,
        say: Callable[[str], None] = lambda text: print(text, flush=True),
    ) -> None:
        self.options, self.patience, self.say = options, patience, say
        self.out = Path(options["out"])
        self.file, self.log = self.out / f"{name}.json", self.out / f"{name}.log"
        self.begun = time.monotonic()
        self.until = self.begun + deadline
        self.process: PartProcess | None = None
        self.record: dict[str, Any] = {
            "script": name,
            "started": datetime.now().isoformat(timespec="seconds"),
            "options": options | {"deadline": deadline},
            "python": platform.python_version(),
            "parts": {},
        }

    def run(self, parts: Sequence[Part]) -> dict[str, Any]:
        """All parts, none of which can stop the others; returns the record, which is in the file too."""
        try:
            for part in (MACHINE, *parts):
                self.one(part)
        finally:
            if self.process is not None:
                self.process.kill()
            self.cut_log()
        return self.record

    def one(self, part: Part) -> None:
        """A part, with what is left of the time."""
        found: dict[str, Any] = {"status": "running"}
        self.record["parts"][part.name] = found
        began = time.monotonic()
        seconds = min(part.seconds * self.patience, self.until - began)
        if seconds < FEWEST_SECONDS:
            found |= {"status": "skipped", "reason": "no time is left"}
        else:
            self.write()
            if self.process is None or not self.process.alive:
                self.process = PartProcess(self.options, self.log)

            def note(name: str, value: Any) -> None:
                found.setdefault("notes", {})[name] = value
                self.write()

            found |= self.process.run(part.target, seconds, note)
            if "result" in found:
                found.pop("notes", None)  # the result has them
            if found.pop("poisoned", False):
                self.process.kill()
        found["seconds"] = round(time.monotonic() - began, 2)
        self.write()
        self.say(line(part.name, found))

    def write(self) -> None:
        self.record["seconds"] = round(time.monotonic() - self.begun, 1)
        atomic_write_json(self.file, self.record)

    def cut_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            with self.log.open("rb") as stream:
                stream.seek(-LARGEST_LOG, os.SEEK_END)
                end = stream.read()
            self.log.write_bytes(end)


def line(name: str, found: dict[str, Any]) -> str:
    """What is printed of a part: the machine's own line, or how it ended and what it says first."""
    result = found.get("result")
    if isinstance(result, dict) and "line" in result:
        return str(result["line"])
    told = f"{name}: {found['status']} in {found['seconds']:.0f} s"
    if "reason" in found:
        return f"{told}: {found['reason']}"
    if "error" in found:
        # Of a traceback the last line tells, of what was stopped the first.
        return f"{told}: {found['error'].strip().splitlines()[-1 if found['status'] == 'failed' else 0][:200]}"
    return f"{told}: {result['says']}" if isinstance(result, dict) and "says" in result else told


def main(name: str, about: str, parts: Sequence[Part], deadline: float, argv: Sequence[str] | None = None) -> int:
    """A script; returns 0 where every part that ran ended well, 1 where one did not, 2 without such a device."""
    args = parser(name, about, deadline).parse_args(argv)
    chosen = [part for part in parts if not args.only or part.name in args.only]
    if unknown := [asked for asked in args.only or [] if asked not in {part.name for part in parts}]:
        parser(name, about, deadline).error(f"--only: {unknown[0]} is none of {', '.join(part.name for part in parts)}")
    data = args.data or (PACK / "data" if (PACK / "data").is_dir() else None)
    out = out_folder(args.out)
    with tempfile.TemporaryDirectory(prefix=f"gpu-{name}-") as folder:
        options = {
            "device": args.device,
            "tiny": args.tiny,
            "folder": folder,
            "out": str(out),
            "data": str(data.absolute()) if data else None,
            "models": os.environ.get("RLHF_GPU_MODELS", str(PACK / "models")),
        }
        record = Runner(name, options, args.deadline, args.patience).run(chosen)
    print(f"{out / name}.json: {record['seconds']:.0f} s")
    statuses = {part: found["status"] for part, found in record["parts"].items()}
    if statuses["machine"] != "ok":
        return 2
    return 1 if {"wrong", "failed", "stopped"} & set(statuses.values()) else 0
