"""The data card as a page of Markdown, with the header that the Hugging Face hub reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rlhf.data.formats.parse import SYNTHETIC

BAR = 40
"""Characters of the longest bar."""
SAYS = {
    "reader": "no record of this kind, or one that can't be read",
    "normalise": "nothing was left, or two answers became equal",
    "filter": "length, language, patterns, personal data",
    "duplicates": "an earlier record says the same",
    "decontamination": "an evaluation asks the same",
    "mix": "left out by a weight below 1",
}


def page(card: Mapping[str, Any]) -> str:
    """Markdown."""
    return "\n".join([*_header(card), *_body(card)]) + "\n"


def _header(card: Mapping[str, Any]) -> Iterator[str]:
    """The front matter of a data set's page: its splits, for `datasets.load_dataset`."""
    yield from (
        "---",
        f"pretty_name: {json.dumps(card['name'])}",
        "configs:",
        "- config_name: default",
        "  data_files:",
    )
    for split, held in card["splits"].items():
        yield from (f"  - split: {split}", f"    path: {json.dumps(held.get('parquet', held['file']))}")
    yield from ("---", "")


def _body(card: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"# {card['name']}", "")
    total = sum(held["records"] for held in card["splits"].values())
    yield f"{total:,} records of the kind {card['kind']}, prepared by rlhf-lab."
    yield from ("", "```sh", "python train.py data=jsonl data.path=FOLDER", "```", "")
    yield from table(
        ("split", "records", "file", "sha256"),
        [(split, f"{h['records']:,}", h["file"], f"`{h['sha256'][:16]}…`") for split, h in card["splits"].items()],
    )
    yield from ("", "## Sources", "")
    yield from table(
        ("source", "path", "licence", "weight", "read", "kept", "sha256"),
        [
            (
                one["name"], cell(one["path"]), cell(one["licence"]), f"{one['weight']:g}", f"{one['read']:,}",
                f"{one['kept']:,}", f"`{one['sha256'][:16]}…`" if one["sha256"] else "hub",
            )
            for one in card["sources"]
        ],
    )  # fmt: skip
    if "synthetic" in card:
        yield from _synthetic(card["synthetic"])
    yield from ("", "## Every step", "")
    yield from table(
        ("step", "removed", "left", "what goes"),
        [(s["step"], f"{s['removed']:,}", f"{s['left']:,}", SAYS.get(s["step"], "")) for s in card["steps"]],
    )
    yield from ("", "## Why", "")
    names = [one["name"] for one in card["sources"]]
    rows = []
    for step, reasons in card["removed"].items():
        for reason, count in reasons.items():
            each = [one["removed"].get(step, {}).get(reason, 0) for one in card["sources"]]
            rows.append((step, reason, f"{count:,}", *(f"{n:,}" if n else "" for n in each)))
    yield from table(("step", "reason", "all", *names), rows) if rows else ["Nothing was removed."]
    changed = {
        what: [one["changed"].get(what, 0) for one in card["sources"]]
        for what in sorted({what for one in card["sources"] for what in one["changed"]})
    }
    for what, each in changed.items():
        yield from ("", f"{what.capitalize()}: {sum(each):,} records were rewritten.")
    yield from ("", "## Lengths", "", "Of what is kept, each record once.", "")
    for what, found in card["lengths"].items():
        if what != "unit":
            yield from bars(what, found, card["lengths"]["unit"])
    if card["decontamination"]:
        yield from ("## Evaluations that it was compared to", "")
        yield from table(
            ("file", "questions", "sha256"),
            [(cell(e["path"]), f"{e['items']:,}", f"`{e['sha256'][:16]}…`") for e in card["decontamination"]],
        )
        yield from ("", "`contamination.jsonl` has every hit.", "")
    if card["examples"]:
        yield from ("## Examples of what was removed", "", "Personal data are replaced by their kinds.", "")
        for reason, found in card["examples"].items():
            yield from (f"### {reason}", "")
            for one in found:
                why = f" ({cell(one['found'])})" if "found" in one else ""
                yield from (f"- `{cell(one['place'])}`{why}", "", *quoted(one["text"]), "")
    yield from ("## Settings", "", "```json", json.dumps(card["settings"], indent=2, ensure_ascii=False), "```")


def _synthetic(made: Mapping[str, Any]) -> Iterator[str]:
    """Who wrote the synthetic source, from what, and what came of every stage."""
    yield from ("", f"## Synthetic records: {made['name']}", "")
    yield f"Written by a language model; each of these records says so in its field `{SYNTHETIC}`."
    yield ""
    shown = {"sha256": "seeds, sha256", "path": "seeds"}
    rows: list[tuple[str, ...]] = [
        (shown.get(key, key), cell(str(value))) for key, value in made.items() if not isinstance(value, Mapping)
    ]
    rows += [(f"prompt {cell(name)}, sha256", digest) for name, digest in made["prompts"].items()]
    yield from table(("", ""), rows)
    yield ""
    counts: list[tuple[str, ...]] = [
        (stage, what, f"{n:,}") for stage, held in made["counts"].items() for what, n in held.items()
    ]
    yield from table(("stage", "what", "count"), counts)


def table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """A table; its cells have no line breaks and no bars of their own."""
    yield "| " + " | ".join(names) + " |"
    yield "| " + " | ".join("---" for _ in names) + " |"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def cell(text: str) -> str:
    """A text that can stand in a table or in a line, and is no markup."""
    for sign in "\\`|<>*_[]":
        text = text.replace(sign, f"\\{sign}" if sign != "`" else "'")
    return " ".join(text.split())


def quoted(text: str) -> list[str]:
    """A text as it is, in a block of code that it can't end."""
    fence = "~~~"
    while fence in text:
        fence += "~"
    return [f"  {line}" for line in (f"{fence}text", *text.split("\n"), fence)]


def bars(what: str, found: Mapping[str, Any], unit: str) -> Iterator[str]:
    """A histogram in characters."""
    yield f"{what[:1].upper()}{what[1:]}, {unit}: median {found.get('median', 0):,}, 99% up to {found.get('p99', 0):,}."
    yield from ("", "```text")
    most = max(found["counts"], default=0) or 1
    starts = found["from"]
    for number, count in enumerate(found["counts"]):
        end = f"–{starts[number + 1] - 1:,}" if number + 1 < len(starts) else "+"
        label = f"{starts[number]:,}{end}" if end != f"–{starts[number]:,}" else f"{starts[number]:,}"
        yield f"{label:>13}  {count:>9,}  {'█' * max(round(BAR * count / most), 1 if count else 0)}"
    yield from ("```", "")
