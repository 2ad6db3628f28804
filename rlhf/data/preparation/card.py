"""The data card: where records are from, what was removed at every step and why, and what is left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rlhf.data.files.prepared import CARD, FORMAT
from rlhf.data.preparation.card_page import page
from rlhf.data.preparation.output import Mixture
from rlhf.data.preparation.parts import Parts, whole
from rlhf.data.preparation.reading import example
from rlhf.data.preparation.removal.duplicates import EXACT, KEPT, NEAR, Found
from rlhf.data.preparation.source import Source

STEPS = ("reader", "normalise", "filter", "duplicates", "decontamination", "mix")
"""In which records are removed, in their order."""
EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Lower ends, in words, of the histogram's bars."""
PAGE = "README.md"


@dataclass
class Outcome:
    """What a preparation did."""

    parts: Parts
    found: Found
    contaminated: np.ndarray
    mixture: Mixture

    @property
    def stays(self) -> np.ndarray:
        """[records] bool: those that neither duplicates nor decontamination removed."""
        return (self.found.state == KEPT) & ~self.contaminated


def outcome_of(parts: Parts, found: Found, contaminated: np.ndarray) -> Outcome:
    """Before anything is mixed. A record counts as removed by the first step that removes it."""
    return Outcome(parts, found, contaminated & (found.state == KEPT), Mixture({}, np.empty(0, dtype=np.int64)))


def counts_of(outcome: Outcome, source: int) -> dict[str, Any]:
    """Of one source: `read`, `changed`, `removed` by step and reason, `kept`, and how often in each split."""
    counted = outcome.parts.counts(source)
    mine = outcome.parts.sources() == source
    removed: dict[str, dict[str, int]] = {step: {} for step in STEPS}
    for name, count in sorted(counted.items()):
        if name.startswith("removed/"):
            _, step, reason = name.split("/", 2)
            removed[step][reason] = count
    later = {
        ("duplicates", "exact"): int((outcome.found.state[mine] == EXACT).sum()),
        ("duplicates", "near"): int((outcome.found.state[mine] == NEAR).sum()),
        ("decontamination", "overlap"): int(outcome.contaminated[mine].sum()),
        ("mix", "weight"): int(mine[outcome.mixture.left_out].sum()),
    }
    for (step, reason), count in later.items():
        if count:
            removed[step][reason] = count
    kept = int(outcome.stays[mine].sum()) - later["mix", "weight"]
    gone = sum(sum(reasons.values()) for reasons in removed.values())
    assert counted["read"] == kept + gone, f"{counted['read']} read, {kept} kept, {gone} removed: one was lost"
    return {
        "read": counted["read"],
        "changed": {name[8:]: n for name, n in sorted(counted.items()) if name.startswith("changed/")},
        "removed": {step: reasons for step, reasons in removed.items() if reasons},
        "kept": kept,
        "written": {split: int(mine[rows].sum()) for split, rows in outcome.mixture.rows.items()},
    }


def histogram(words: np.ndarray) -> dict[str, Any]:
    """How many texts have so many words, between `EDGES`; the median, and what 99 of 100 do not pass."""
    counts = np.diff(np.searchsorted(np.sort(words), [*EDGES, np.iinfo(np.int64).max]))
    last = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    high = {"median": int(np.median(words)), "p99": int(np.percentile(words, 99))} if len(words) else {}
    return {"from": list(EDGES[:last]), "counts": counts[:last].tolist(), **high}


def examples_of(outcome: Outcome, most: int) -> dict[str, list[dict[str, str]]]:
    """The first removed records of each reason, by `step/reason`."""
    found = outcome.parts.examples(most)

    def shown(record: int) -> dict[str, str]:
        held = json.loads(outcome.parts.line(record))
        held.pop("dataset", None)
        return example(outcome.parts.place(record), json.dumps(held, ensure_ascii=False))

    for name, state in (("duplicates/exact", EXACT), ("duplicates/near", NEAR)):
        for record in np.flatnonzero(outcome.found.state == state)[:most].tolist():
            stays = int(outcome.found.twin[record])
            found.setdefault(name, []).append({**shown(record), "found": f"{outcome.parts.place(stays)} stays"})
    for record in np.flatnonzero(outcome.contaminated)[:most].tolist():
        hit = outcome.parts.hit(record)
        entry = {**shown(record), "found": f"{hit['item']}: {hit['words']}"}
        found.setdefault("decontamination/overlap", []).append(entry)
    return dict(sorted(found.items(), key=lambda item: STEPS.index(item[0].split("/")[0])))


def card_of(
    name: str,
    kind: str,
    settings: Mapping[str, Any],
    sources: list[Source],
    outcome: Outcome,
    splits: Mapping[str, Mapping[str, Any]],
    evaluations: list[dict[str, Any]],
    examples: int,
    packages: Sequence[str],
    synthetic: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything as one object. It has no date and no duration: equal inputs give an equal card.

    Args:
        settings: what the removals depend on. splits: of `output.write`. evaluations: of `Evaluations.files`.
        packages: that had a part in it. synthetic: how a model wrote one of the sources, and what was counted.
    """
    each = [counts_of(outcome, place) for place in range(len(sources))]
    removed: dict[str, Counter[str]] = {step: Counter() for step in STEPS}
    for counts in each:
        for step, reasons in counts["removed"].items():
            removed[step].update(reasons)
    left, steps = sum(counts["read"] for counts in each), []
    steps.append({"step": "read", "removed": 0, "left": left})
    for step in STEPS:
        left -= removed[step].total()
        steps.append({"step": step, "removed": removed[step].total(), "left": left})
    stays = outcome.stays
    prompt_words, answer_words = (outcome.parts.numbers(f"{part}_words")[stays] for part in ("prompt", "answer"))
    lengths = {"prompt" if kind != "documents" else "text": histogram(prompt_words)}
    if answer_words.any():
        lengths["longest answer"] = histogram(answer_words)
    return {
        "format": FORMAT,
        "name": name,
        "kind": kind,
        "splits": dict(splits),
        "steps": steps,
        "removed": {step: dict(sorted(reasons.items())) for step, reasons in removed.items() if reasons},
        "sources": [
            {
                "name": source.name,
                "path": source.listed or source.path,
                "sha256": source.sha256(),
                "licence": source.found_licence(),
                "weight": source.weight,
                **counts,
            }
            for source, counts in zip(sources, each, strict=True)
        ],
        **({"synthetic": dict(synthetic)} if synthetic else {}),
        "lengths": {"unit": "words", **lengths},
        "decontamination": evaluations,
        "settings": dict(settings),
        "split_level": outcome.mixture.level,
        "examples": examples_of(outcome, examples) if examples else {},
        "versions": {package: version(package) for package in packages},
    }


def write_card(card: Mapping[str, Any], folder: Path) -> None:
    """`README.md` and, last of all files, `card.json`."""
    with whole(folder / PAGE, "w") as stream:
        stream.write(page(card))
    with whole(folder / CARD, "w") as stream:
        stream.write(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def write_hits(outcome: Outcome, path: Path) -> None:
    """One line for each record that an evaluation asks for: both places, and the words that they have in common."""
    with whole(path, "w") as stream:
        for record in np.flatnonzero(outcome.contaminated).tolist():
            line = {"place": outcome.parts.place(record), **outcome.parts.hit(record)}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
