"""`metrics.csv`: one row a logged step, on disk at once, without gaps or doubles after a resume.

Lightning's `CSVLogger` deletes the file of an earlier run in the same directory, and writes only every 100 steps.
"""

from __future__ import annotations

import contextlib
import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from rlhf.runs.files import writing
from rlhf.storage.inside import no_links
from rlhf.storage.reading import open_regular

DIGITS = 19
"""Of a step, at most."""


def _is_step(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdigit() and len(text) < DIGITS


class CSVMetrics(Logger):
    """Appends to `<directory>/metrics.csv`; numbers of the same step (training, validation) share one row."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.path = directory / "metrics.csv"
        self.columns: list[str] = ["step"]
        self.last: dict[str, str] = {}
        self.last_offset = 0
        self._opened = False

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> None:
        return None

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """`config.yaml` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with writing(self.path):
            self._write({"step": str(step)} | {name: f"{value:.8g}" for name, value in metrics.items()})

    @rank_zero_only
    def restart(self, step: int) -> None:
        """Forget what was logged after `step`: those steps will be made again.

        A step that stands twice becomes one row: a run that was killed before its first checkpoint starts again, and
        logs its first evaluation once more.
        """
        kept: dict[int, dict[str, str]] = {}
        for row in self.rows():
            if (number := int(row["step"])) <= step:
                kept[number] = kept.get(number, {}) | {name: value for name, value in row.items() if value}
        self._opened = True
        self.columns = list(dict.fromkeys(["step", *(name for row in kept.values() for name in row)]))
        with writing(self.path):
            self._rewrite([kept[number] for number in sorted(kept)])

    def _write(self, row: dict[str, str]) -> None:
        self._open()
        if self.last.get("step") == row["step"]:
            row = self.last | row
        new = [name for name in row if name not in self.columns]
        if new:
            rows = self.rows()
            self.columns += new
            self._rewrite(rows)
        with open(self.path, "r+", newline="", encoding="utf-8", opener=no_links) as stream:
            stream.seek(0, io.SEEK_END)
            if self.last.get("step") == row["step"]:
                stream.seek(self.last_offset)
                stream.truncate()
            self.last, self.last_offset = row, stream.tell()
            stream.write(self._line([row.get(name, "") for name in self.columns]))

    def _open(self) -> None:
        """Take over the columns of an earlier process, and drop a last line that its kill cut short."""
        if not self._opened:
            self._opened = True
            rows = self.rows()
            self.columns = list(rows[0]) if rows else ["step"]
            self._rewrite(rows)

    def rows(self) -> list[dict[str, str]]:
        """The file's rows; numbers as text. A last line that was cut short by a kill is left out."""
        if not self.path.exists():
            return []
        with open_regular(self.path) as stream:
            text = stream.read().decode("utf-8", "replace")
        whole = text[: text.rfind("\n") + 1]
        rows: list[dict[str, str]] = []
        with contextlib.suppress(csv.Error):  # what follows a row that is none can't be told apart
            rows.extend(csv.DictReader(io.StringIO(whole, newline="")))
        return [row for row in rows if None not in row and None not in row.values() and _is_step(row.get("step"))]

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        self.last = {}
        part = self.path.with_suffix(".csv.part")
        part.unlink(missing_ok=True)
        with open(part, "x", newline="", encoding="utf-8", opener=no_links) as stream:
            stream.write(self._line(self.columns))
            for row in rows:
                self.last, self.last_offset = {k: v for k, v in row.items() if v}, stream.tell()
                stream.write(self._line([row.get(name, "") for name in self.columns]))
        part.replace(self.path)

    @staticmethod
    def _line(values: list[str]) -> str:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerow(values)
        return stream.getvalue()
