"""What is written reads back as the same record, as JSONL and as Parquet, for every format that can be read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.parse import parse
from rlhf.data.preparation.lines import object_of
from rlhf.data.preparation.parquet import Columns
from rlhf.data.readers import read
from rlhf.data.records import (
    Comparison,
    Demonstration,
    Document,
    Kind,
    Labelled,
    Prompt,
    Ranking,
    Record,
    StepLabelled,
    prompt_of,
)
from tests.data.formats.format_examples import EXAMPLES

TALK = Prompt((("system", "brief"), ("user", "a"), ("assistant", "b"), ("user", "hi")))
CALLS = '{"tool_calls":[{"function":{"arguments":{"x":1},"name":"f"},"type":"function"}]}'
TOOLS = '[{"function":{"name":"f"},"type":"function"}]'
ASKED = Prompt((("user", "a"), ("assistant", ""), ("tool", "3")), TOOLS, ((1, CALLS), (2, '{"name":"f"}')))
TRANSCRIPT = "Human: a\n\nAssistant: b"
HARD: list[tuple[Kind, Record]] = [
    ("demonstrations", Demonstration(Prompt.of("hi"), "yo")),
    ("demonstrations", Demonstration(TALK, "yo", (0, 1))),
    ("demonstrations", Demonstration(ASKED, "yo")),
    ("demonstrations", Demonstration(Prompt.of("a", ), "", (), CALLS)),
    ("demonstrations", Demonstration(Prompt.of(TRANSCRIPT), TRANSCRIPT)),
    ("demonstrations", Demonstration(Prompt.of("[{\"role\": 1}]"), "{}")),
    ("comparisons", Comparison(TALK, "a", "b", (("category", "maths"), ("source", "x")), 0.5)),
    ("comparisons", Comparison(Prompt.of(TRANSCRIPT), TRANSCRIPT, "b")),
    ("comparisons", Ranking(TALK, ("a", "b", "c"), (2, 1, 2), (("subset", "s"),), (1.0, 2.5, 0.0))),
    ("labels", Labelled(TALK, "a", False, (("category", "c"),))),
    ("labels", Labelled(Prompt.of("hi"), TRANSCRIPT, True)),
    ("steps", StepLabelled(TALK, ("a", "b\nc"), (1.0, None), (("category", "c"),))),
    ("prompts", Prompt.of("hi")),
    ("prompts", ASKED),
    ("documents", Document("a\nb")),
]  # fmt: skip


def there_and_back(record: Record, kind: Kind, tmp_path: Path) -> list[list[Any]]:
    held = object_of(record, "mine")
    lines, columns = tmp_path / "a.jsonl", tmp_path / "b.parquet"
    lines.write_text(json.dumps(held) + "\n", encoding="utf-8")
    stream = io.BytesIO()
    table = Columns(stream, kind)
    table.add([held])
    table.close()
    columns.write_bytes(stream.getvalue())
    return [read(path, kind).items for path in (lines, columns)]


MARK = {
    "model": "m",
    "seeds": ["a.jsonl:1", "generated:2"],
    "prompts": {"critique.txt": "0" * 16},
    "text": "long " * 99,
}


@pytest.mark.parametrize(("kind", "record"), HARD, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(HARD)])
def test_what_says_that_a_model_wrote_it_comes_back(kind: Kind, record: Record, tmp_path: Path) -> None:
    object.__setattr__(prompt_of(record) or record, "synthetic", json.dumps(MARK))
    for found in there_and_back(record, kind, tmp_path):
        assert json.loads((prompt_of(found[0]) or found[0]).synthetic) == MARK
    object.__setattr__(prompt_of(record) or record, "synthetic", "")


@pytest.mark.parametrize(("kind", "record"), HARD, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(HARD)])
def test_a_record_comes_back(kind: Kind, record: Record, tmp_path: Path) -> None:
    assert there_and_back(record, kind, tmp_path) == [[record], [record]]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_format_that_is_read_comes_back(name: str, tmp_path: Path) -> None:
    value, expected = EXAMPLES[name]
    for kind in expected:
        for record in parse(value, kind, name):
            if not isinstance(record, BadRecord):
                assert there_and_back(record, kind, tmp_path) == [[record], [record]], kind


def test_fields_travel_with_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "hi", "solution": [1, "x"]}), encoding="utf-8")
    (prompt,) = read(path, "prompts", fields={"answer": "solution"}).items
    assert object_of(prompt, "mine") == {"prompt": "hi", "answer": [1, "x"], "dataset": "mine"}
