"""Every type of file by its name, folders and their splits, and that what is not read is named."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf.data.dataset import load
from rlhf.data.files.values import file_sha256
from rlhf.data.readers import read
from rlhf.data.records import Demonstration, Prompt, Record
from rlhf.errors import DataError

ROWS = [{"prompt": f"question {n}, 问\nnext", "response": f'answer "{n}"'} for n in range(5)]
EXPECTED = [Demonstration(Prompt.of(row["prompt"]), row["response"]) for row in ROWS]
JSONL = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()


def as_table(path: Path, delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["prompt", "response"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


def as_arrow(path: Path, file: bool) -> None:
    import pyarrow

    table = pyarrow.Table.from_pylist(ROWS)
    with (pyarrow.ipc.new_file if file else pyarrow.ipc.new_stream)(str(path), table.schema) as sink:
        sink.write_table(table)


def as_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("deep/b.jsonl.gz", gzip.compress(b"\n".join(JSONL.split(b"\n")[2:])))
        archive.writestr("a.NDJSON", b"\n".join(JSONL.split(b"\n")[:2]))
        archive.writestr("README.md", "about")
        archive.writestr("__MACOSX/a.jsonl", "x")


def as_zstandard(path: Path) -> None:
    import pyarrow

    with pyarrow.CompressedOutputStream(str(path), "zstd") as sink:
        sink.write(JSONL)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.JSONL": lambda path: path.write_bytes(JSONL),
    "a.ndjson": lambda path: path.write_bytes(JSONL),
    "a.jsonl.bz2": lambda path: path.write_bytes(bz2.compress(JSONL)),
    "a.jsonl.XZ": lambda path: path.write_bytes(lzma.compress(JSONL)),
    "a.jsonl.zst": as_zstandard,
    "a.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "a.csv": as_table,
    "a.tsv": lambda path: as_table(path, "\t"),
    "a.arrow": lambda path: as_arrow(path, file=False),
    "b.arrow": lambda path: as_arrow(path, file=True),
    "a.zip": as_zip,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_type_of_file_gives_the_same_records(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    records = read(path, "demonstrations")
    assert records.items == EXPECTED
    assert records.files == (path,)
    # A folder that holds it is read by the same names.
    assert read(tmp_path, "demonstrations").items == EXPECTED


def test_places_within_archives_and_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("in/a.csv", 'prompt,response\n"two\nlines",x\nq,\n')
    with pytest.raises(DataError, match=re.escape(f"{path}/in/a.csv:4: demonstrations need")):
        read(path, "demonstrations")
    assert read(path, "demonstrations", on_error="skip").counts == {"read": 2, "kept": 1, "missing_field": 1}


BROKEN: list[tuple[str, bytes, str]] = [
    ("a.csv", b"prompt,response\na,b,c\n", r"a\.csv:2: 3 cells"),
    ("a.csv", b"prompt,prompt\na,b\n", r"a\.csv:1: two columns"),
    ("a.csv", b'prompt,response\n"a,b\n', r"a\.csv:2: not CSV"),
    ("a.csv", b"prompt,response\n\xff,b\n", "not UTF-8"),
    ("a.arrow", b"ARROW1 no", "not a readable arrow file"),
    ("a.arrow", b"no", "not a readable arrow file"),
    ("a.zip", b"PK no", "not a complete zip file"),
    ("a.jsonl.xz", b"no", "not a complete xz file"),
    ("a.jsonl.bz2", b"no", "can't be read|not a complete"),
    ("a.jsonl.zst", b"no", "can't be read|not a complete"),
    ("a.xlsx", b"no", "unknown type of file"),
    ("a.parquet.gz", b"no", "unknown type of file"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_broken_files_are_sentences(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(path, "demonstrations")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_archive_without_data_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", "x")
    with pytest.raises(DataError, match=r"a\.zip: no data files in this archive"):
        read(tmp_path / "a.zip", "prompts")


def test_what_is_not_read_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.jsonl").write_bytes(JSONL)
    for name in ("README.md", "LICENSE", "dataset_infos.json", ".hidden", "cache-1.arrow"):
        (tmp_path / name).write_text("x")
    assert read(tmp_path, "demonstrations").items == EXPECTED
    assert not caplog.records
    (tmp_path / "b.xlsx").write_text("x")
    before = file_sha256(tmp_path)
    read(tmp_path, "demonstrations")
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "b.xlsx" in record.message
    assert file_sha256(tmp_path) == before
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(DataError, match=r"no data files in this folder; it has b\.xlsx"):
        read(tmp_path, "demonstrations")


def hub(path: Path, split: str, **options: Any) -> list[Record]:
    data = load("demonstrations", source="hub", path=str(path), split=split, val_fraction=0, test_fraction=0, **options)
    return data.train


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.jsonl", "test.jsonl"),
        ("data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl"),
        ("training/part.jsonl", "eval/part.jsonl"),
        ("my_train_set.jsonl", "my-test.JSONL"),
    ],
)
def test_a_split_of_a_folder_is_read_alone(
    tmp_path: Path, train: str, test: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name, lines in ((train, slice(0, 3)), (test, slice(3, 5))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\n".join(JSONL.split(b"\n")[lines]))
    assert hub(tmp_path, "train") == EXPECTED[:3]
    assert hub(tmp_path, "test") == EXPECTED[3:]
    with pytest.raises(DataError, match=r"data\.split: 'validation' is no split of .*, which has .*train"):
        hub(tmp_path, "validation")
    assert not caplog.records
    # As one's own folder all of it is read, and said.
    assert len(read(tmp_path, "demonstrations").items) == 5
    assert any("test, train" in record.message or "train, test" in record.message for record in caplog.records)


def test_splits_of_other_names_and_files_of_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train_sft", "train_prefs"):
        (tmp_path / f"{name}-00000-of-00001.jsonl").write_bytes(JSONL)
    assert hub(tmp_path, "train_sft") == EXPECTED
    with pytest.raises(DataError, match="which has train_prefs, train_sft"):
        hub(tmp_path, "train")
    (tmp_path / "other.jsonl").write_bytes(JSONL)
    hub(tmp_path, "train_sft")
    assert "other.jsonl" in caplog.records[-1].message


def test_a_folder_or_file_without_splits_is_train(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(JSONL)
    assert hub(tmp_path, "train") == hub(path, "train") == EXPECTED
    for place in (tmp_path, path):
        with pytest.raises(DataError, match=r"data\.split"):
            hub(place, "test")
    (tmp_path / "test.jsonl").write_bytes(JSONL)
    assert hub(tmp_path / "test.jsonl", "test") == EXPECTED
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.jsonl").write_bytes(JSONL)
    assert hub(tmp_path, "train", subset="sub") == EXPECTED
    with pytest.raises(DataError, match=r"data\.subset"):
        hub(tmp_path, "train", subset="missing")


def test_what_save_to_disk_wrote(tmp_path: Path) -> None:
    import datasets

    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(tmp_path / "one", num_shards=2)
    (tmp_path / "one" / "cache-00.arrow").write_bytes(b"a cache of map")
    assert read(tmp_path / "one", "demonstrations").items == hub(tmp_path / "one", "train") == EXPECTED
    parts = datasets.DatasetDict({"train": whole.select(range(3)), "held": whole.select(range(3, 5))})
    parts.save_to_disk(tmp_path / "two")
    assert hub(tmp_path / "two", "train") == EXPECTED[:3]
    assert hub(tmp_path / "two", "held") == EXPECTED[3:]


def test_a_cell_of_messages_is_a_list_and_other_json_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    answer = json.dumps([{"role": "assistant", "content": "yo"}])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt", "response"], ["hi", answer], ["hi", '[{"a": 1}]']])
    assert [record.response for record in read(path, "demonstrations").items] == ["yo", '[{"a": 1}]']


def test_labels_and_conversations_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    talk = json.dumps([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["messages", "label"], [talk, "True"], [talk, "0"]])
    assert [record.desirable for record in read(path, "labels").items] == [True, False]
    assert read(path, "demonstrations").counts["undesirable"] == 1
