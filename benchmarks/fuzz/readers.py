"""Data files of strangers: records of every format with odd values, in every container, whole and damaged."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, get_args

from benchmarks.fuzz.formats import SAMPLES
from benchmarks.fuzz.saved import damaged, folder
from benchmarks.fuzz.texts import mixed, mutated
from rlhf.data.importers import names
from rlhf.data.readers import Records, read
from rlhf.data.records import Document, Kind, key_of, place_of, prompt_of, responses_of
from rlhf.errors import DataError
from rlhf.plain_text import one_line

TEXTS = [
    "", " ", "\n", "a", "Why?\r\n", "  indented\n\tcode", "\u2028", "\ud800", "\x00", "中文", "[1]", "{}",
    '[{"role": 1}]', "null", "true", "0", "1.0", "\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant:",
    "\n\nAssistant: b",
    "[" * 900, '{"a":' * 900, "x" * 300, '[{"from": "human", "value": "q"}]', "###Response to evaluate:", "=1+1",
    '"', ",", "9" * 5000,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 0.5, 1e308, float("nan"), float("inf"), 10**400, [], {}, [[]], [{}], [None],
    [1, "a"], {"": None}, {"a": {"b": [1]}}, {"role": "user", "content": "a"},
    {"role": "assistant", "content": ["a"]}, [{"role": "user", "content": "a"}], [{"role": "tool", "content": ""}],
    [{"from": "gpt", "value": "b", "weight": 0}],
    [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{}"}]}],
    [["q", "a"]], [{"text": "a", "rank": 1}],
]  # fmt: skip
PARTS = ["{", "}", "[", "]", ":", ",", '"', "\\", "\n", "\r\n", "\t", "null", "NaN", "1e999", "[" * 2000]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": lambda content: gzip.compress(content, 1),
    ".bz2": lambda content: bz2.compress(content, 1),
    ".xz": lambda content: lzma.compress(content, preset=0),
}
SUFFIXES = (".jsonl", ".jsonl", ".ndjson", ".json", ".json", ".csv", ".tsv", ".txt", ".parquet", ".arrow")
FORMATS = names()
KINDS = get_args(Kind)


def one(random: Random) -> str:
    """An input; returns what became of it."""
    kind = random.choice(KINDS)
    format = "auto" if random.random() < 0.8 else random.choice(FORMATS)
    rows = [_row(random) for _ in range(random.choice((1, 1, 2, 3)))]
    suffix = random.choice(SUFFIXES)
    content, whole = _written(random, rows, suffix)
    packed = ""
    if suffix not in (".parquet", ".arrow") and random.random() < 0.2:
        packed = random.choice((*PACKERS, ".zip"))
    if random.random() < 0.3:
        content, whole = damaged(random, content), False
    if packed == ".zip":
        packing = io.BytesIO()
        with zipfile.ZipFile(packing, "w") as archive:
            archive.writestr(f"a{suffix}", content)
        content, suffix = packing.getvalue(), ".zip"
    elif packed:
        content, suffix = PACKERS[packed](content), f"{suffix}{packed}"
    if packed and random.random() < 0.2:
        content, whole = damaged(random, content), False
    path = folder() / f"data{suffix}"
    found = _read(path, content, kind, format, "skip" if whole or random.random() < 0.7 else "stop")
    if whole and suffix not in (".jsonl", ".ndjson"):
        plain = folder() / "plain.jsonl"
        assert _same(found, _read(plain, _lines(rows), kind, format, "skip")), "another container, other records"
    if isinstance(found, DataError):
        return "refused"
    _check(found, kind)
    return "read"


def _row(random: Random) -> Any:
    """A record of a known format with some values exchanged, some fields gone and some of another format."""
    row = dict(random.choice(SAMPLES))
    if random.random() < 0.2:
        other = random.choice(SAMPLES)
        row |= {name: other[name] for name in random.sample([*other], random.randint(1, len(other)))}
    if random.random() < 0.1:
        row[random.choice((*TEXTS, "weight", "label", "tools", "system", "history"))] = random.choice((*TEXTS, *VALUES))
    return _odd(random, row, 0.02 if random.random() < 0.6 else 0.2)


def _odd(random: Random, value: Any, often: float) -> Any:
    if random.random() < often:
        return random.choice(VALUES if random.random() < 0.5 else TEXTS)
    if isinstance(value, dict):
        return {name: _odd(random, item, often) for name, item in value.items() if random.random() > often / 2}
    return [_odd(random, item, often) for item in value] if isinstance(value, list) else value


def _written(random: Random, rows: list[Any], suffix: str) -> tuple[bytes, bool]:
    """A file of these rows, and whether it must hold the same records as JSON lines."""
    if suffix in (".csv", ".tsv"):
        if all(map(_is_flat, rows)) and all(row.keys() == rows[0].keys() for row in rows):
            text = io.StringIO(newline="")
            table = csv.writer(text, delimiter="\t" if suffix == ".tsv" else ",")
            table.writerows([[*rows[0]], *([*row.values()] for row in rows)])
            return text.getvalue().encode(), True
        return mutated(random, 'prompt,response\na,"b, c"\nd,e\n', PARTS).encode(errors="replace"), False
    if suffix in (".parquet", ".arrow"):
        return _columns(rows, suffix), False
    if suffix == ".json":
        return json.dumps(rows, indent=random.choice((None, 1))).encode(), True
    if suffix == ".txt":
        return mixed(random, TEXTS, 9).encode(errors="surrogatepass"), False
    if random.random() < 0.3:
        return mutated(random, _lines(rows).decode(), PARTS).encode(errors="surrogatepass"), False
    return _lines(rows), True


def _is_flat(row: Any) -> bool:
    return isinstance(row, dict) and all(
        isinstance(value, str) and value and not value.startswith("[{") and _encodes(name + value)
        for name, value in row.items()
    )


def _encodes(text: str) -> bool:
    return text == text.encode(errors="replace").decode()


def _lines(rows: list[Any]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def _columns(rows: list[Any], suffix: str) -> bytes:
    import pyarrow
    import pyarrow.parquet

    stream = io.BytesIO()
    try:
        table = pyarrow.Table.from_pylist([row for row in rows if isinstance(row, dict)])
        if suffix == ".parquet":
            pyarrow.parquet.write_table(table, stream)
        else:
            with pyarrow.ipc.new_stream(stream, table.schema) as writer:
                writer.write_table(table)
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):  # no table holds such rows
        return b"PAR1" if suffix == ".parquet" else b"ARROW1"
    return stream.getvalue()


def _read(path: Path, content: bytes, kind: Kind, format: str, on_error: Any) -> Records | DataError:
    path.write_bytes(content)
    try:
        return read(path, kind, on_error, format)
    except DataError as error:
        assert one_line(error)
        return error
    finally:
        path.unlink()


def _same(one: Records | DataError, other: Records | DataError) -> bool:
    if isinstance(one, DataError) or isinstance(other, DataError):
        return type(one) is type(other)
    return one.items == other.items and one.counts == other.counts


def _check(found: Records, kind: Kind) -> None:
    """What every later stage takes for granted."""
    counts = dict(found.counts)
    assert counts.pop("read") == sum(counts.values()) and counts["kept"] == len(found.items) > 0
    for record in found.items:
        assert place_of(record) and key_of(record) is not None
        if isinstance(record, Document):
            assert record.text.strip()
            record.text.encode()
            continue
        prompt = prompt_of(record)
        assert prompt is not None
        json.dumps(prompt.messages(), ensure_ascii=False, allow_nan=False).encode()
        if kind == "prompts":
            continue
        responses, pairs = responses_of(record)
        assert all(pair[0] != pair[1] and max(pair) < len(responses) for pair in pairs)
        for response in responses:
            response.encode()
        if kind == "demonstrations":
            json.dumps(record.messages(), ensure_ascii=False, allow_nan=False).encode()
            assert len(record.learnt) == 1 + sum(role == "assistant" for role, _ in prompt.turns)
