"""Votes as training data: comparisons and rankings for reward models and DPO, labels for KTO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlhf.labelling.vote_log import Line, standing
from rlhf.runs.files import atomic_write_text, json_line

COMPARISONS, LABELS = "comparisons.jsonl", "labels.jsonl"


def comparisons_of(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """A record for each vote on several answers, with annotator and time, in the order of the votes. Equal answers
    compare nothing, empty ones can't be trained on; both are left out.

    Of two answers, of which one is better, it has `chosen` and `rejected`; else `responses` with their ranks, ties
    included: readers count those, and make no pair of them.
    """
    found = [(line, line.get("ranks")) for line in standing(lines) if comparable(line["responses"])]
    return [comparison(line, ranks) for line, ranks in found if ranks is not None]


def comparable(texts: Iterable[str]) -> bool:
    """Whether answers can serve as training data: not all are equal, and none is empty."""
    stripped = [text.strip() for text in texts]
    return len(set(stripped)) > 1 and all(stripped)


def comparison(line: Mapping[str, Any], ranks: Iterable[int], **more: Any) -> dict[str, Any]:
    """What `ranks` say of a vote's answers, as `data=jsonl` reads it."""
    ranks, texts = list(ranks), line["responses"]
    record = _asked(line)
    if len(texts) == 2 and ranks[0] != ranks[1]:
        first = ranks[0] < ranks[1]
        record |= {"chosen": texts[not first], "rejected": texts[first]}
    else:
        record["responses"] = [{"text": text, "rank": rank} for text, rank in zip(texts, ranks, strict=True)]
    return record | _who(line) | more


def labels_of(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """A record for each thumb up or down, as `algo=kto` reads it."""
    return [label(line) for line in standing(lines) if line.get("desirable") is not None]


def label(line: Mapping[str, Any]) -> dict[str, Any]:
    """What a vote says of its only answer."""
    return {**_asked(line), "completion": line["responses"][0], "label": line["desirable"], **_who(line)}


def _asked(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in ("prompt", "tools") if name in line}


def _who(line: Mapping[str, Any]) -> dict[str, Any]:
    """`comment` is a field that readers know to be for people, whatever it says."""
    comment = {"comment": line["comment"]} if line.get("comment") else {}
    return {"annotator": line["annotator"], "time": line["time"], "id": line["question"], **comment}


def write(folder: Path, comparisons: Iterable[Mapping[str, Any]], labels: Iterable[Mapping[str, Any]]) -> list[Path]:
    """Write the files that have something in them; returns their paths. One without content is removed: votes that
    were undone are no data.

    Raises:
        OSError: one can't be written.
    """
    found = []
    for name, records in ((COMPARISONS, comparisons), (LABELS, labels)):
        text = "".join(map(json_line, records))
        if text:
            atomic_write_text(folder / name, text)
            found.append(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    return found
