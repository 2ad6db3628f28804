"""Records that only look harmless: half characters, answers that masking makes equal, fields beside the texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlhf.data.preparation.card import card_of, outcome_of, write_card
from rlhf.data.preparation.lines import record_of
from rlhf.data.preparation.output import mix
from rlhf.data.preparation.removal.duplicates import Found
from rlhf.data.preparation.source import Source, kind_of_source
from rlhf.data.records import Prompt, key_of, prompt_of
from rlhf.data.splits import fraction_of, level_of
from rlhf.errors import ConfigError, DataError
from tests.data.preparation.test_steps import counts, read, says, write

HALF = "\ud83d"
CODE = "def f():\n    return 1"
CALLS: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": HALF}}}]},
    ]
}


@pytest.fixture(autouse=True)
def escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a character can stand in a file as `\\ud83d` only."""

    def lines(path: Path, rows: list[Any]) -> Path:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    monkeypatch.setattr("tests.data.preparation.test_steps.write", lines)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [("comparisons", {"prompt": "q", "chosen": "a", "rejected": "b", "category": HALF}), ("demonstrations", CALLS)],
)
def test_half_a_character_beside_the_texts_is_a_fault_of_its_line(kind: str, bad: Any, tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b"}, bad]
    with pytest.raises(DataError, match=r"a\.jsonl:2: .*lone surrogate"):
        read(tmp_path, rows, kind)
    parts = read(tmp_path, rows, kind, on_error="skip")
    assert parts.records == 1 and counts(parts)["removed/reader/not_utf8"] == 1


def test_the_card_shows_what_no_file_can_hold(tmp_path: Path) -> None:
    parts = read(tmp_path, [says("q", "a"), says("q", f"half {HALF}")], on_error="skip")
    outcome = outcome_of(parts, Found.none(parts.records), parts.numbers("contaminated"))
    source = Source(str(tmp_path / "a.jsonl"), "a")
    write_card(card_of("mine", "demonstrations", {}, [source], outcome, {}, [], 3, []), tmp_path)
    assert r"half \ud83d" in (tmp_path / "README.md").read_text(encoding="utf-8").replace("\\\\", "\\")


def test_answers_that_masking_makes_equal_compare_nothing(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": f"ask {one}@acme.com", "rejected": other} for one, other in (("jo", "ask me"),) * 2
    ]
    rows[1]["rejected"] = "ask ann@acme.com"
    parts = read(tmp_path, rows, "comparisons", personal="mask", kinds=("email",))
    assert parts.records == 1 and sum(n for name, n in counts(parts).items() if name.startswith("removed/")) == 1
    assert counts(parts)["changed/masked"] == 1


@pytest.mark.parametrize("row", [{"prompt": "q"}, says("q", "a")])
def test_what_travels_with_prompts_may_be_long(row: dict[str, str], tmp_path: Path) -> None:
    path = write(tmp_path / "b.jsonl", [{**row, "test_code": CODE, "quality": 3}])
    fields = {"tests": "test_code", "quality": "quality"}
    kind = kind_of_source(Source(str(path), "b"), fields)
    assert kind == ("demonstrations" if "response" in row else "prompts")
    assert kind_of_source(Source(str(write(tmp_path / "c.jsonl", [row])), "c"), fields) == kind, "reading says the rest"
    parts = read(tmp_path, [{**row, "test_code": CODE, "quality": 3}], kind, fields=fields)
    prompt: Any = prompt_of(record_of(parts.line(0), kind, fields))  # type: ignore[arg-type]
    assert prompt.fields == {"tests": CODE, "quality": 3}


@pytest.mark.parametrize("name", ["question", "instruction", "conversations"])
def test_names_by_which_another_record_would_be_read_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.fields: {name}: .*a\.jsonl:1"):
        read(tmp_path, [{**says("What is it?", "It is."), "ref": "4"}], fields={name: "ref"})


def test_the_level_of_a_split_depends_on_prompts_as_in_other_files_of_them(tmp_path: Path) -> None:
    prompts = [f"q {n}" for n in range(6)]
    parts = read(tmp_path, [says(prompt, f"{n}") for prompt in prompts for n in range(30)])
    keys = [key_of(Prompt.of(prompt)) for prompt in prompts]
    assert level_of(keys, 1, 0.1, 0.1) == 0
    mixture = mix(parts, np.ones(parts.records, dtype=bool), [1.0], 1, 0.1, 0.1, False, "demonstrations")
    assert mixture.level == 0
    assert len(mixture.rows["train"]) == 30 * sum(fraction_of(key, 1) >= 0.2 for key in keys)
