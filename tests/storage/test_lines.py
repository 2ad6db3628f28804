"""A line of a file ends with a line feed. `str.splitlines` also splits at U+2028, U+2029, U+0085 and others, which JSON
written with `ensure_ascii=False` holds as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf.data.rows import Row
from rlhf.reporting.run_files import read_samples
from rlhf.runs.files import json_line
from tracking.wandb_tables import WandbTables
from verbs.train.sample_kl import _pending

ROOT = Path(__file__).parents[2]
ODD = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\r\n"


def product_files() -> list[Path]:
    packages = ("rlhf", "lightning_modules", "callbacks", "tracking", "verbs", "launch", "hydra_plugins")
    return [*ROOT.glob("*.py"), *(file for package in packages for file in (ROOT / package).rglob("*.py"))]


def test_no_code_splits_text_into_lines_by_unicode() -> None:
    assert len(product_files()) > 100
    users = [str(file.relative_to(ROOT)) for file in product_files() if ".splitlines(" in file.read_text("utf-8")]
    assert users == [], 'split at "\\n", or iterate over a binary file'


def test_samples_with_such_characters_are_read_whole(tmp_path: Path) -> None:
    rows = [{"step": 1, "prompt": [["user", ODD]], "response": text} for text in (ODD, "plain", ODD)]
    (tmp_path / "samples.jsonl").write_text("".join(json_line(row) for row in rows), encoding="utf-8", newline="\n")
    assert [sample["response"] for sample in read_samples(tmp_path)] == [ODD, "plain", ODD]
    assert len(WandbTables(tmp_path, {}).rows(1)) == 3


@pytest.mark.parametrize("text", ["\ud83d", ODD, "é 中"])
def test_any_text_can_be_written_and_read(tmp_path: Path, text: str) -> None:
    row = {"step": 1, "prompt": [["user", "q"]], "response": text}
    (tmp_path / "samples.jsonl").write_bytes(json_line(row).encode())
    assert [sample["response"] for sample in read_samples(tmp_path)] == [text]


def test_an_evaluation_that_misses_a_line_gets_no_kl() -> None:
    """Which prompt a sample answers follows from its place."""
    prompts = [Row((1,), ((2,),), index=0), Row((3,), ((2,),), index=1)]
    sample = {"ids": [4], "logprob": -1.0}
    records = [{**sample, "step": 0}, {**sample, "step": 1}, {**sample, "step": 1, "ids": [5]}]
    assert [(row.prompt, row.responses) for row, _ in _pending(records, prompts)] == [((1,), ((4,),)), ((3,), ((5,),))]
    records[1]["ids"] = "4"
    assert list(_pending(records, prompts)) == []


def test_a_sample_of_odd_roles_is_shown_without_a_judgement(tmp_path: Path) -> None:
    prompts = [[], [["narrator", "Why?"]], [["user", "Why?", "x"]]]
    lines = [json.dumps({"step": 1, "prompt": prompt, "response": "So."}) + "\n" for prompt in prompts]
    (tmp_path / "samples.jsonl").write_text("".join(lines))
    assert [sample.get("gold") for sample in read_samples(tmp_path)] == [None] * 3
