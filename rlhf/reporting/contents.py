"""What a report is made of: runs, evaluations, and what sets them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlhf.evaluation.findings import Finding
from rlhf.evaluation.symptoms import collapse, forgotten, symptoms
from rlhf.runs import Summary
from rlhf.storage.shapes import fits


@dataclass
class RunData:
    """A training run as it lies on disk.

    Attributes:
        label: what sets it apart from the other runs of the report; `name` has the seed too.
        settings: dotted keys with their values.
        spot_check: what people said of its samples, see `spot_check.py`; `None` where nobody was asked.
    """

    path: Path
    summary: Summary
    config: dict[str, Any]
    rows: list[dict[str, float]]
    samples: list[dict[str, Any]]
    label: str = ""
    name: str = ""
    spot_check: dict[str, Any] | None = None

    @property
    def algo(self) -> str:
        return self.summary.algo

    @property
    def settings(self) -> dict[str, Any]:
        return dict(flat(self.config))

    def findings(self) -> list[Finding]:
        return symptoms(self.rows, self.samples, self.summary.final, self.algo)


@dataclass
class EvaluationData:
    """A finished comparison as it lies on disk: `evaluation.json`, `answers.jsonl`."""

    path: Path
    summary: Summary | None
    config: dict[str, Any]
    record: dict[str, Any]
    answers: list[dict[str, Any]]

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        models: dict[str, dict[str, Any]] = self.record.get("models", {})
        return models

    def values(self, model: str, name: str) -> list[float]:
        """A number of each answer of a model (`score`, `reward`, `tokens`), where there is one."""
        found = [line["answers"].get(model, {}).get(name) for line in self.answers]
        return [float(value) for value in found if fits(value, float)]

    def findings(self) -> list[Finding]:
        """Symptoms of finished models, beside the model that KL is measured from."""
        reference = str(self.record.get("reference"))
        start = self.models.get(reference, {})
        texts = {name: self._texts(name) for name in self.models}
        found: list[Finding] = []
        for name, metrics in self.models.items():
            before, now = start.get("bits_per_byte"), metrics.get("bits_per_byte")
            if before and now:
                found += forgotten(before, now, None, name)
            found += collapse(texts[name], texts.get(reference, []), None, name)
        return found

    def _texts(self, name: str) -> list[str]:
        return [str(line["answers"][name]["response"]) for line in self.answers if name in line["answers"]]


@dataclass
class Material:
    """Everything that a report shows.

    Attributes:
        failed: runs that did not finish, with what they ended with.
        varied: keys by which the runs of a stage differ, with all their values.
    """

    kind: Literal["run", "sweep", "evaluation"]
    path: Path
    runs: list[RunData] = field(default_factory=list)
    evaluations: list[EvaluationData] = field(default_factory=list)
    failed: list[tuple[Path, Summary]] = field(default_factory=list)
    varied: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def evaluation(self) -> EvaluationData | None:
        """The newest one."""
        return self.evaluations[-1] if self.evaluations else None

    def groups(self) -> dict[str, list[RunData]]:
        """Runs that differ in nothing but the seed, by label; finished ones are not averaged with others."""
        found: dict[str, list[RunData]] = {}
        for run in self.runs:
            found.setdefault(run.label, []).append(run)
        finished = {name: [run for run in runs if run.summary.status == "finished"] for name, runs in found.items()}
        return {name: finished[name] or runs for name, runs in found.items()}


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
