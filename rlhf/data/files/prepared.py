"""Folders that `prepare.py` wrote: a data card says which of their files hold what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CARD = "card.json"
FORMAT = "rlhf-lab data card 1"


@dataclass(frozen=True)
class Prepared:
    """A prepared folder.

    Attributes:
        name, kind: what it is called, and the kind of its records.
        folder: that it lies in. splits: JSONL files of train, validation and test, those that hold anything.
        sha256: of the card, which has the hashes of all files.
    """

    name: str
    kind: str
    splits: dict[str, Path]
    folder: Path
    sha256: str


def prepared(folder: Path) -> Prepared | None:
    """What a folder's card says; `None` where it has none, or one of somebody else's, or a file of it is missing."""
    try:
        content = (folder / CARD).read_bytes()
        card = json.loads(content)
        if card["format"] != FORMAT:
            return None
        splits = {str(split): folder / str(held["file"]) for split, held in card["splits"].items()}
        found = Prepared(str(card["name"]), str(card["kind"]), splits, folder, hashlib.sha256(content).hexdigest())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if splits and all(file.is_file() for file in splits.values()) else None


def cards_of(paths: Iterable[str]) -> list[dict[str, str]]:
    """What a run's summary says of the prepared data among its paths: name, path, and the sha256 of the card."""
    found = [(path, card_of(Path(path))) for path in paths]
    return [{"name": card.name, "path": path, "sha256": card.sha256} for path, card in found if card is not None]


def card_of(path: Path) -> Prepared | None:
    """The card of a prepared folder, or of the folder that a file of it lies in."""
    if path.is_dir():
        return prepared(path)
    found = prepared(path.parent)
    return found if found is not None and path.resolve() in {file.resolve() for file in found.splits.values()} else None
