"""Which files of a folder are data, which split each of them belongs to, and which ones are not read."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rlhf.data.files.containers import READABLE, is_hidden, kind_of
from rlhf.data.files.prepared import CARD, prepared
from rlhf.errors import DataError, nearest

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Words in names of files and folders that tell a split, as `datasets` takes them."""

SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\b")
"""Names of a split's parts, as the hub and `datasets` write them."""

ABOUT = re.compile(
    r"(readme|licen[cs]e|notice|citation|changelog|contributing|croissant)|.*\.(md|rst|lock|gitattributes)$|"
    r"(dataset_infos?|dataset_dict|state|croissant)\.json$|cache-.*\.arrow$",
    re.IGNORECASE,
)
"""Names of files beside the data that are not data: descriptions, or caches of `datasets`."""


@dataclass
class Folder:
    """What was found in a folder.

    Attributes:
        files: the data files, sorted.
        unread: files that may be data but can't be read, sorted; hidden ones and READMEs are none.
        splits: names of splits, each with its files; empty where no name tells one.
    """

    files: tuple[Path, ...]
    unread: tuple[Path, ...] = ()
    splits: dict[str, tuple[Path, ...]] = field(default_factory=dict)

    def of_split(self, path: Path, split: str) -> tuple[Path, ...]:
        """The files of one split; where names tell none, all are `train`, as `datasets` has it.

        Raises:
            DataError: there is no such split.
        """
        wanted = SPLITS.get(split.lower(), split)
        if not self.splits and wanted == "train":
            return self.files
        if wanted not in self.splits:
            names = ", ".join(self.splits) or "no files that are named after splits"
            raise DataError(
                f"data.split: {split!r} is no split of {path}, which has {names}{nearest(wanted, self.splits)}"
            )
        return self.splits[wanted]


def scan(path: Path) -> Folder:
    """The data files of a folder and its folders. One that `prepare.py`, or `save_to_disk` of `datasets`, wrote
    says which they are.

    Raises:
        DataError: there are none.
    """
    names = sorted(file for file in path.rglob("*") if file.is_file() and not is_hidden(_within(path, file)))
    files = [file for file in names if kind_of(file.name) is not None and not ABOUT.match(file.name)]
    for card in filter(None, [prepared(file.parent) for file in names if file.name == CARD]):
        files = [file for file in files if card.folder not in file.parents or file in card.splits.values()]
    for saved in [file.parent for file in names if file.name == "state.json"]:
        listed = _saved(saved)
        files = [file for file in files if file.parent != saved or file.name in listed]
    unread = tuple(file for file in names if kind_of(file.name) is None and not ABOUT.match(file.name))
    if prepared(path) is not None:
        unread = ()
    if not files:
        found = f"; it has {_some(path, unread)}" if unread else ""
        raise DataError(f"{path}: no data files in this folder{found}; it may hold {READABLE}")
    named = {folder.name for folder in path.iterdir() if (path / "dataset_dict.json").exists() and folder.is_dir()}
    splits: dict[str, list[Path]] = {}
    for file in files:
        if (split := split_of(_within(path, file), named)) is not None:
            splits.setdefault(split, []).append(file)
    return Folder(tuple(files), unread, {name: tuple(found) for name, found in splits.items()})


def unread_sentence(path: Path, folder: Folder, files: tuple[Path, ...]) -> str:
    """What of a folder is not read although it may be data; empty where there is nothing to say."""
    parts = []
    if folder.unread:
        parts.append(f"{path}: not read, of types that are unknown: {_some(path, folder.unread)}")
    if folder.splits and (left := tuple(file for file in folder.files if file not in files)):
        nameless = tuple(file for file in left if not any(file in files for files in folder.splits.values()))
        if nameless:
            parts.append(f"{path}: not read, since no name tells their split: {_some(path, nameless)}")
    if len(folder.splits) > 1 and files == folder.files:
        parts.append(
            f"{path}: the splits {', '.join(folder.splits)} are read as one; "
            f"data=hub data.split={next(iter(folder.splits))} reads one of them"
        )
    return "; ".join(parts)


def _some(path: Path, files: tuple[Path, ...]) -> str:
    names = [_within(path, file).as_posix() for file in files]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _within(path: Path, file: Path) -> PurePosixPath:
    return PurePosixPath(file.relative_to(path).as_posix())


def split_of(name: PurePosixPath, named: Collection[str] = ()) -> str | None:
    """The split named by a file, or by the nearest folder; `None` where neither names one.

    Args:
        named: folders that are splits whatever they are called.
    """
    shard = SHARD.match(name.name)
    if shard is not None and shard[1] != "data":
        return SPLITS.get(shard[1], shard[1])
    for part in reversed(name.parts):
        if part in named:
            return SPLITS.get(part, part)
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in SPLITS:
                return SPLITS[word]
    return None


def _saved(folder: Path) -> set[str]:
    """Names of the files that make up a saved data set; others beside them are caches."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return {str(entry["filename"]) for entry in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {file.name for file in folder.iterdir()}  # a file of another program
