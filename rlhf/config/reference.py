"""The configuration reference in docs/configuration.md, written from the schemas.

`python -m rlhf.config.reference --write docs/configuration.md` puts it between the two markers of that page.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from rlhf.config import VERBS, StageConfig, TrainConfig, algorithms
from rlhf.config.algorithms.base import AlgoConfig
from rlhf.config.keys import Key, keys, type_hints

BEGIN = "<!-- reference: begin (python -m rlhf.config.reference --write docs/configuration.md) -->"
END = "<!-- reference: end -->"


def reference() -> str:
    """Markdown: one table for the keys at the top, one for every section, one for every stage."""
    parts: list[str] = []
    sections = {
        field.name: type_hints(TrainConfig)[field.name]
        for field in dataclasses.fields(TrainConfig)
        if dataclasses.is_dataclass(type_hints(TrainConfig)[field.name])
    }
    top = [key for key in keys(TrainConfig) if "." not in key.name]
    parts.append(_table("Top level", "Keys without a group.", top))
    for name, section in sections.items():
        if section is not AlgoConfig:
            parts.append(_table(f"`{name}`", _summary(section), keys(section, f"{name}.")))
    for name, cls in algorithms().items():
        parts.append(_table(f"`algo={name}`", _summary(cls), keys(cls, "algo.")))
    shared = set(sections.values())
    for verb, cls in VERBS.items():
        own = [key for key in keys(cls) if _section(cls, key.name) not in shared]
        if cls is not TrainConfig:
            parts.append(
                _table(f"`{verb}.py`", f"{_summary(cls)} Beside these it has groups of the tables above.", own)
            )
    parts.append(_table("A stage of a pipeline", _summary(StageConfig), keys(StageConfig, "stages.NAME.")))
    return "\n\n".join(parts)


def _section(cls: type, name: str) -> type | None:
    """The class of the section that a key stands in; `None` at the top level."""
    return type_hints(cls)[name.split(".")[0]] if "." in name else None


def _summary(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())


def _table(title: str, summary: str, rows: Any) -> str:
    lines = [
        f"### {title}",
        "",
        summary,
        "",
        "| key | type | default | allowed | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [_row(key) for key in rows]
    return "\n".join(lines)


def _row(key: Key) -> str:
    info = key.info
    meaning = info.help + (f" ({info.unit})" if info.unit else "") + (f". {info.source}" if info.source else "")
    cells = (f"`{key.name}`", type_name(key.annotation), f"`{show(key.default)}`", info.allowed, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def type_name(annotation: Any) -> str:
    """`number`, `whole number or null`, … as a reader who doesn't write Python would say."""
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(type_name(part) for part in get_args(annotation))
    if annotation is Any:  # OmegaConf has no union of a text and a list
        return "text or list"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", NoneType: "null"}
    origin = get_origin(annotation) or annotation
    return names.get(origin) or {dict: "mapping", list: "list"}[origin]


def show(value: Any) -> str:
    """A value as one would type it in YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value != "" else '""'


def inject(page: str) -> str:
    """`page` with the reference between its markers.

    Raises:
        ValueError: the page lacks a marker.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page needs the lines {BEGIN!r} and {END!r}")
    before, rest = page.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the configuration reference, or write it into a page.")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="Markdown page that holds the two markers")
    page = parser.parse_args().write
    if page is None:
        print(reference())
    else:
        page.write_text(inject(page.read_text(encoding="utf-8")), encoding="utf-8")
