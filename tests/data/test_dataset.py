from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from rlhf.data.assistant import generate
from rlhf.data.dataset import load
from rlhf.data.records import Kind, key_of
from rlhf.data.rows import make_rows
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.errors import DataError


@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind != "steps"])
def test_the_embedded_task_serves_every_kind(kind: Kind) -> None:
    data = load(kind, seed=3, val_fraction=0.1, test_fraction=0.1)
    again = load(kind, seed=3, val_fraction=0.1, test_fraction=0.1)
    assert (data.train, data.val, data.test) == (again.train, again.val, again.test)
    assert data.counts == {
        "read": len(generate(kind, 3)),
        "kept": len(generate(kind, 3)),
        "train": len(data.train),
        "val": len(data.val),
        "test": len(data.test),
    }
    assert min(len(data.val), len(data.test)) > 100
    # Documents have no prompt, so that no stage claims some of them for itself.
    assert (sum(map(len, (data.train, data.val, data.test))) == data.counts["kept"]) == (kind == "documents")
    assert data.train != load(kind, seed=4).train


def test_no_stage_trains_on_a_prompt_that_another_tests_on() -> None:
    parts = [load(kind, seed=3, test_fraction=0.2) for kind in ("demonstrations", "comparisons", "prompts")]
    tested = set.union(*({key_of(record) for record in data.test} for data in parts))
    trained = set.union(*({key_of(record) for record in data.train} for data in parts))
    assert len(tested) > 400
    assert not tested & trained


def test_a_file_is_read_limited_and_split(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"prompt": f"q{n}", "response": "a"} for n in range(200)]
    path.write_text("\n".join(map(json.dumps, rows)))
    data = load("demonstrations", source="file", path=str(path), limit=100, val_fraction=0.2, test_fraction=0.2)
    kept = [*data.train, *data.val, *data.test]
    assert {record.prompt.text for record in kept} == {f"q{n}" for n in range(100)}  # type: ignore[union-attr]
    assert data.files == (path,)
    assert (data.counts["read"], sum(data.counts[part] for part in ("train", "val", "test"))) == (200, 100)
    # A path that exists is a file even where the configuration names a hub data set.
    assert load("demonstrations", source="hub", path=str(path)).counts["read"] == 200


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.source=file needs data\.path=FILE"):
        load("prompts", source="file")
    with pytest.raises(DataError, match=r"data\.source=hub needs data\.path=OWNER/NAME"):
        load("prompts", source="hub")
    path = tmp_path / "a.txt"
    path.write_text("one")
    with pytest.raises(DataError, match=r"of 1 prompts none falls in the training part; lower data\.val_fraction"):
        load("prompts", source="file", path=str(path), val_fraction=0.0, test_fraction=0.9999999)


def test_real_comparisons_become_rows(hh_file: Path) -> None:
    data = load("comparisons", source="file", path=str(hh_file), format="hh", on_error="skip")
    template = template_for(load_tokenizer("gpt2"))
    rows, counts = make_rows(data.train, "comparisons", template, 256)
    assert counts["rows"] + counts["dropped_too_long"] == len(data.train)
    assert counts["rows"] > 0.9 * len(data.train)
    assert counts["cut_prompts"] > 0
    for row in rows:
        assert len(row.prompt) + max(map(len, row.responses)) <= 256
        assert row.responses[0] != row.responses[1]
    # The same conversation tokenised whole: nothing is lost or moved at the boundaries.
    record = data.train[rows[0].index]
    whole = template.tokenizer.encode(f"{template.text(record.prompt)} {record.chosen}")  # type: ignore[union-attr]
    assert [*rows[0].prompt, *rows[0].responses[0]][-len(rows[0].responses[0]) - 20 : -1] == whole[
        -len(rows[0].responses[0]) - 19 :
    ]


def lines(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_a_file_that_a_split_has_made_gets_a_validation_set(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = lines(tmp_path / "whole.jsonl", [{"prompt": f"q{n}", "response": "a"} for n in range(300)])
    first = load("demonstrations", source="file", path=whole)
    assert not caplog.records
    rows = [{"prompt": record.prompt.text, "response": "b"} for record in first.train]  # type: ignore[union-attr]
    cut = load("demonstrations", source="file", path=lines(tmp_path / "cut.jsonl", rows))
    assert min(len(cut.val), len(cut.test)) > 5
    assert any("cut.jsonl" in record.message and "level 1" in record.message for record in caplog.records)
    # The same prompts in another order, for another stage: the same are held out.
    again = load("prompts", source="file", path=lines(tmp_path / "again.jsonl", rows[::-1]))
    assert {key_of(record) for record in again.val} == {key_of(record) for record in cut.val}


@pytest.mark.parametrize("prompts", [1, 3])
def test_an_empty_validation_set_is_said(tmp_path: Path, prompts: int, caplog: pytest.LogCaptureFixture) -> None:
    path = lines(tmp_path / "a.jsonl", [{"prompt": f"{n % prompts}", "response": f"a{n}"} for n in range(30)])
    assert not load("demonstrations", source="file", path=path, val_fraction=0.01).val
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "data.val_fraction: 0.01" in record.message
    caplog.clear()
    load("demonstrations", source="file", path=path, val_fraction=0.0)
    assert not caplog.records


def test_a_validation_set_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = lines(tmp_path / "a.jsonl", [{"prompt": f"q{n}", "response": "a"} for n in range(50)])
    other = lines(tmp_path / "b.jsonl", [{"prompt": f"q{n}", "response": "a"} for n in range(45, 60)])
    data = load("demonstrations", source="file", path=path, val_path=other, test_fraction=0.0)
    assert len(data.val) == data.counts["val"] == 15 and len(data.train) == 45
    assert not {key_of(record) for record in data.val} & {key_of(record) for record in data.train}
    (record,) = caplog.records
    assert "data.val_path: 5 training examples" in record.message
