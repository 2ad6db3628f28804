"""Rules of `prepare.py`, and its sources with what each of them says for itself."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlhf.config.paths import check_exists
from rlhf.config.rules.data import HUB_NAME, check_fractions, check_shape
from rlhf.config.rules.synthetic import check_synthetic
from rlhf.config.sections import SAFE_NAME, DataConfig
from rlhf.config.verbs.preparation import PrepareConfig
from rlhf.errors import ConfigError, nearest

EXTRA = "pip install -e '.[prepare]'"
NOT_READ = ("max_length", "truncate", "max_unknown", "chat_template", "template_kwargs", "train_on", "val_path")
"""Keys of `data` that mean something to a tokeniser or to training only."""


@dataclass(frozen=True)
class SourceEntry:
    """One source, as `sources` or `data.path` names it."""

    path: str
    name: str = ""
    weight: float = 1.0
    licence: str | None = None
    source: str = "file"
    format: str = "auto"
    columns: dict[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    split: str | None = None
    subset: str | None = None
    limit: int | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a file or folder of this machine."""
        return self.source == "file" or Path(self.path).exists()


TEXTS = ("path", "name", "licence", "source", "format", "split", "subset")


def source_entries(config: PrepareConfig) -> tuple[SourceEntry, ...]:
    """The sources in order, each with a name of its own.

    Raises:
        ConfigError: one is no source, or there is none.
    """
    data = config.data
    if config.sources and data.paths:
        raise ConfigError(
            "sources: data.path is given too, and one of the two says what is read; name the file in sources"
        )
    base: dict[str, Any] = {
        "source": data.source,
        "format": data.format,
        "ignore": list(data.ignore),
        "subset": data.subset,
        "limit": data.limit,
        "split": data.split if data.source == "hub" else None,
    }
    if not config.sources:
        weights = data.weights or [1.0] * len(data.paths)
        given = [{"path": path, "weight": weight} for path, weight in zip(data.paths, weights, strict=True)]
        found = [_entry("data.path", {**base, **entry}) for entry in given]
    else:
        if data.weights:
            raise ConfigError("data.weights: with sources, each of them has its own: sources=[{path: A, weight: 2}]")
        found = []
        for number, item in enumerate(config.sources):
            entry = item if isinstance(item, dict) else {"path": item}
            found.append(_entry(f"sources[{number}]", {**base, **entry}))
    if not found and config.synthetic.method == "none":
        raise ConfigError(
            "sources: none given; pass data.path=FILE, or sources=[{path: A, weight: 2}, {path: B}] in quotes"
        )
    return _named(found, config.synthetic.name if config.synthetic.method != "none" else None)


def _entry(shown: str, given: dict[str, Any]) -> SourceEntry:
    known = [one.name for one in fields(SourceEntry)]
    for name, value in given.items():
        if name not in known:
            raise ConfigError(
                f"{shown}.{name}: unknown key{nearest(str(name), known) or '; one of ' + ', '.join(known)}"
            )
        if name in TEXTS and value is not None and (isinstance(value, dict | list | bool) or not str(value).strip()):
            raise ConfigError(f"{shown}.{name}: {value!r} is no text"[:300])
    if given.get("path") is None:
        raise ConfigError(f"{shown}.path: missing; name a file, a folder or a hub data set")
    if given["source"] not in ("file", "hub"):
        raise ConfigError(f"{shown}.source: {given['source']!r} is not one of file | hub")
    weight, limit = given.get("weight", 1.0), given["limit"]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1000:
        raise ConfigError(f"{shown}.weight: {weight!r} is out of range, must be > 0, ≤ 1000; leave out what has none")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"{shown}.limit: {limit!r} is out of range, must be ≥ 1")
    columns = given.get("columns") or {}
    if not isinstance(columns, dict) or not all(isinstance(theirs, str) for theirs in columns.values()):
        raise ConfigError(f"{shown}.columns: {columns!r} must be a mapping, such as {{prompt: question}}"[:300])
    ignore = given["ignore"]
    if not isinstance(ignore, list):
        raise ConfigError(f"{shown}.ignore: {ignore!r} must be a list of fields"[:300])
    texts: dict[str, Any] = {
        name: str(value) if name in TEXTS and value is not None else value for name, value in given.items()
    }
    renamed = {str(ours): theirs for ours, theirs in columns.items()}
    texts |= {"weight": float(weight), "columns": renamed, "ignore": tuple(map(str, ignore))}
    entry = SourceEntry(**texts)
    if entry.name and not re.fullmatch(SAFE_NAME, entry.name):
        raise ConfigError(f"{shown}.name: {entry.name!r}; use letters, digits, '.', '_' and '-'")
    if entry.source == "file" or not re.fullmatch(HUB_NAME, entry.path):
        check_exists(f"{shown}.path" if "[" in shown else shown, entry.path)
    if entry.source == "file" and Path(entry.path).is_file() and (entry.split or entry.subset):
        raise ConfigError(f"{shown}.split: {entry.path} is one file and has none; leave split and subset out")
    return entry


def _named(found: list[SourceEntry], synthetic: str | None) -> tuple[SourceEntry, ...]:
    """With names: those given, else the file's, and a number where two would be called the same.

    Args:
        synthetic: name of the source that a model writes, if there is one.
    """
    taken = Counter([*(entry.name for entry in found if entry.name), *([synthetic] if synthetic else [])])
    if taken and (twice := taken.most_common(1)[0])[1] > 1:
        raise ConfigError(f"sources: two have the name {twice[0]!r}")
    named = []
    for entry in found:
        name = entry.name
        if not name:
            stem = re.sub(
                r"(\.(jsonl|ndjson|json|csv|tsv|txt|parquet|arrow|zip|gz|bz2|xz|zst))+$", "", entry.path.rstrip("/")
            )
            stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem.rsplit("/", 1)[-1]).strip("-._") or "source"
            name, number = stem, 2
            while name in taken:
                name, number = f"{stem}-{number}", number + 1
            taken[name] = 1
        named.append(SourceEntry(**{**entry.__dict__, "name": name}))
    return tuple(named)


def check_preparation(config: PrepareConfig) -> None:
    """Raises:
    ConfigError: the first thing that is wrong, in one sentence.
    """
    data = config.data
    check_shape(data)
    if data.is_embedded:
        raise ConfigError(
            f"data.source: {data.source} is generated and needs no preparation; pass data.path=FILE, or sources=[…]"
        )
    usual = DataConfig()
    for name in NOT_READ:
        if getattr(data, name) != getattr(usual, name):
            raise ConfigError(f"data.{name}: this is for training; prepare.py counts words, see filter.max_words")
    check_fractions(data)
    for name, patterns in (("keep", config.filter.keep_matching), ("drop", config.filter.drop_matching)):
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(f"filter.{name}_matching: {pattern!r} is no regular expression: {error}") from error
    for low, high in (("min_words", "max_words"), ("min_answer_words", "max_answer_words")):
        most = getattr(config.filter, high)
        if most is not None and most < getattr(config.filter, low):
            raise ConfigError(f"filter.{high}: {most} is less than filter.{low}, so nothing would be left")
    check_synthetic(config)
    for path in config.decontamination.against:
        check_exists("decontamination.against", path)
    if config.sources or data.paths:  # else --help would need a source too
        source_entries(config)


def check_packages(config: PrepareConfig) -> None:
    """To be called when work begins, so that --help and --cfg work without them.

    Raises:
        ConfigError: a package of the extra `prepare` is missing.
    """
    for package, wanted, without in (
        ("datasketch", config.duplicates.near is not None, "duplicates.near=null"),
        ("py3langid", bool(config.filter.languages), "filter.languages=[]"),
    ):
        if wanted and find_spec(package) is None:
            key = without.split("=")[0]
            raise ConfigError(f"{key}: {package} is not installed here; {EXTRA}, or pass {without}")
