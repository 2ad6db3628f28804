"""Files of every type, folders, hub data sets, and bad lines by their place."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data import readers
from rlhf.data.dataset import load
from rlhf.data.readers import file_sha256, read, read_hub
from rlhf.data.records import Comparison, Demonstration, Document, Prompt
from rlhf.errors import DataError

ROWS = [{"prompt": f"question {n} 问", "response": f"answer {n}"} for n in range(5)]
EXPECTED = [Demonstration(Prompt.of(row["prompt"]), row["response"]) for row in ROWS]


def write(path: Path, rows: list[Any]) -> Path:
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    if path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(text.encode()))
    elif path.name.endswith(".json"):
        path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    elif path.name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.parquet"])
def test_every_type_of_file_gives_the_same_records(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROWS)
    records = read(str(path), "demonstrations")
    assert records.items == EXPECTED
    assert records.counts == {"read": 5, "kept": 5}
    assert records.files == (path,)


def test_parquet_holds_conversations_and_rankings(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    path = write(tmp_path / "a.parquet", [{"messages": talk}])
    assert read(path, "demonstrations").items == [Demonstration(Prompt.of("hi"), "hello")]
    responses = [{"text": "a", "rank": 2}, {"text": "b", "rank": 1}]
    path = write(tmp_path / "b.parquet", [{"prompt": "hi", "responses": responses, "chosen": None}])
    assert read(path, "comparisons").items[0].pairs() == ((1, 0),)


def test_text_files_hold_prompts_by_line_and_documents_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufefffirst\r\n\n  第二 \n".encode())
    assert read(path, "prompts").items == [Prompt.of("first"), Prompt.of("  第二 ")]
    (document,) = read(path, "documents").items
    assert document == Document("first\n\n  第二 \n")
    with pytest.raises(DataError, match=r"a\.txt:1: expected an object with prompt with response"):
        read(path, "demonstrations")


def test_a_folder_is_all_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "b.jsonl", ROWS[:2])
    write(tmp_path / "deep" / "c.json", ROWS[2:4])
    write(tmp_path / "a.parquet", ROWS[4:])
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / ".cache").mkdir()
    write(tmp_path / ".cache" / "d.jsonl", ROWS)
    records = read(tmp_path, "demonstrations")
    assert records.items == [EXPECTED[4], *EXPECTED[:4]]
    assert [file.name for file in records.files] == ["a.parquet", "b.jsonl", "c.json"]


BAD_LINES = [
    (b"{", "not_json", "not JSON"),
    (b'{"prompt": "a", "response": NaN}', "wrong_type", "response must be text"),
    (b"\xff\xfe", "not_utf8", "not UTF-8: byte 0xff at position 0"),
    (b'{"prompt": "a"}', "missing_field", "demonstrations need"),
    (b'{"prompt": "a", "response": ""}', "empty_field", "response is empty"),
    (b"[1]", "wrong_type", "expected an object"),
    (b"[" * 100_000, "not_json", "not JSON"),
]


@pytest.mark.parametrize(("line", "reason", "message"), BAD_LINES)
def test_a_bad_line_is_named_or_skipped_and_counted(tmp_path: Path, line: bytes, reason: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps(ROWS[0]).encode()
    path.write_bytes(b"\n".join([good, b"", line, good]))
    with pytest.raises(DataError, match=re.escape(f"{path}:3: {message}")) as caught:
        read(path, "demonstrations")
    assert len(str(caught.value).splitlines()) == 1
    records = read(path, "demonstrations", on_error="skip")
    assert records.items == [EXPECTED[0]] * 2
    assert records.counts == {"read": 3, "kept": 2, reason: 1}
    path.write_bytes(line)
    with pytest.raises(DataError, match=re.escape(f"{path}: no demonstrations in it")):
        read(path, "demonstrations", on_error="skip")


def test_a_list_names_the_line_of_each_item(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n  {"prompt": "a",\n   "response": "b"},\n\n  {"prompt": "c"}\n]')
    with pytest.raises(DataError, match=re.escape(f"{path}:5: demonstrations need")):
        read(path, "demonstrations")
    assert read(path, "demonstrations", on_error="skip").counts == {"read": 2, "kept": 1, "missing_field": 1}
    for text, message in (
        ('{"prompt": "a"}', ":1: a .json file must hold a list"),
        ('[\n"a",\n{', ":3: not JSON"),
        ('[\n"a"\n"b"]', ":3: not JSON: expected a comma"),
        ('["a",\n]', ":2: not JSON"),
        ('["a"]\n]', ":2: not JSON: something follows"),
        ("[", ":1: not JSON"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=re.escape(f"{path}{message}")):
            read(path, "prompts")
    path.write_bytes(b'[\n"\xff"]')
    with pytest.raises(DataError, match=re.escape(f"{path}:2: not UTF-8")):
        read(path, "prompts")


@given(rows=st.lists(st.fixed_dictionaries({"prompt": st.just("a"), "response": st.text(min_size=1)}), min_size=1))
def test_lists_decode_as_json_does(rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("lists") / "a.json"
    for indent in (None, 3):
        path.write_text(json.dumps(rows, indent=indent))
        found = [raw.value for raw in readers.raw_values(path)]
        assert found == rows


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, '{"prompt": "a"}')
    return stream.getvalue()


def test_a_member_of_an_archive_without_a_name_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped("a.jsonl", "Q").replace(b"Q", b"\0"))  # a name ends at a zero byte
    assert read(tmp_path / "a.zip", "prompts").items == [Prompt.of("a")]


def test_files_that_are_no_files(tmp_path: Path) -> None:
    cases: list[tuple[str, bytes | None, str]] = [
        ("missing.jsonl", None, "no such file or folder"),
        ("a.xlsx", b"x", r"unknown type of file; use one of \.jsonl"),
        ("empty.jsonl", b"", "empty.jsonl:1: the file is empty"),
        ("blank.jsonl", b"\n\n", "no prompts in it"),
        ("a.jsonl.gz", b"plain", "not a complete gzip file"),
        ("b.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 1000)[:-20], "not a complete gzip file"),
        ("a.parquet", b"PAR1 no", "not a readable parquet file"),
        ("a.zip", zipped("é.jsonl").replace("é".encode(), b"\xff\xff"), "not a complete zip file"),
        ("empty.json", b"[]", "no prompts in it"),
    ]
    for name, content, message in cases:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read(path, "prompts")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="no data files in this folder"):
        read(tmp_path / "folder", "prompts")


def damaged_arrow() -> dict[str, bytes]:
    """Tables with offsets outside of the text, with a buffer of an impossible size, and with an impossible date."""
    import pyarrow

    def written(columns: dict[str, Any]) -> bytes:
        table, stream = pyarrow.table(columns), io.BytesIO()
        with pyarrow.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        return stream.getvalue()

    good = written({"prompt": ["a" * 100]})
    # The offsets stand in front of the text, the size of the text in what describes it.
    offsets = good.rindex(struct.pack("<ii", 0, 100))
    size = good.index(struct.pack("<q", 100))
    return {
        "offsets": good[:offsets] + struct.pack("<ii", 0, 2000) + good[offsets + 8 :],
        "size": good[:size] + struct.pack("<q", 2**59) + good[size + 8 :],
        "date": written({"prompt": ["a"], "at": pyarrow.array([2**62], pyarrow.timestamp("us"))}),
    }


@pytest.mark.parametrize("fault", ["offsets", "size", "date"])
def test_a_damaged_table_is_named(tmp_path: Path, fault: str) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.arrow"
    path.write_bytes(damaged_arrow()[fault])
    with pytest.raises(DataError, match=r"a\.arrow: not a readable arrow file"):
        read(path, "prompts")


def test_an_empty_file_in_a_folder_can_be_skipped(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "b.jsonl").touch()
    with pytest.raises(DataError, match=r"b\.jsonl:1: the file is empty"):
        read(tmp_path, "demonstrations")
    assert read(tmp_path, "demonstrations", on_error="skip").counts["empty_file"] == 1


def test_earlier_differences_never_stop(tmp_path: Path) -> None:
    pair = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    path = write(tmp_path / "a.jsonl", [pair, {**pair, "rejected": "\n\nHuman: z\n\nAssistant: c"}])
    records = read(path, "comparisons", format="hh")
    assert records.items == [Comparison(Prompt.of("a"), "b", "c")]
    assert records.counts == {"read": 2, "kept": 1, "differ_before_last_turn": 1}


def test_hashes_follow_content_and_names(tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", ROWS)
    folder = file_sha256(tmp_path)
    assert len(file_sha256(one)) == len(folder) == 64
    one.rename(tmp_path / "b.jsonl")
    assert file_sha256(tmp_path) != folder
    (tmp_path / "b.jsonl").rename(one)
    assert file_sha256(tmp_path) == folder
    before = file_sha256(one)
    write(one, ROWS[1:])
    assert file_sha256(one) != before
    with pytest.raises(DataError, match="can't be read"):
        file_sha256(tmp_path / "missing.jsonl")


def test_a_folder_laid_out_like_a_hub_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set" / "harmless").mkdir(parents=True)
    write(tmp_path / "set" / "harmless" / "train.jsonl", ROWS)
    write(tmp_path / "set" / "harmless" / "test.jsonl", ROWS[:2])
    name = str(tmp_path / "set")
    assert read_hub(name, "demonstrations", split="train", subset="harmless").items == EXPECTED
    assert read_hub(name, "demonstrations", split="test", subset="harmless").items == EXPECTED[:2]
    with pytest.raises(DataError, match=re.escape(f"{name}[train]:1: comparisons need")):
        read_hub(name, "comparisons", subset="harmless")


def test_an_offline_hub_says_what_to_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(readers, "reachable", lambda: False)
    with pytest.raises(DataError, match=r"data set nobody/nothing: can't be loaded.*pass data\.path=FILE") as caught:
        load("comparisons", source="hub", path="nobody/nothing")
    assert len(str(caught.value).splitlines()) == 1
    assert not constants.HF_HUB_OFFLINE


def test_without_the_library_the_hub_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install datasets"):
        read_hub("nobody/nothing", "prompts")


@pytest.mark.parametrize(("kind", "on_error", "format"), [("x", "stop", "auto"), ("prompts", "x", "auto")])
def test_unknown_options_are_refused(tmp_path: Path, kind: Any, on_error: Any, format: Any) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        read(tmp_path, kind, on_error, format)


def test_real_comparisons(hh_file: Path) -> None:
    with pytest.raises(DataError, match=r"harmless-base\.jsonl\.gz:65: the last Assistant turn of chosen is empty"):
        read(hh_file, "comparisons", format="hh")
    records = read(hh_file, "comparisons", on_error="skip", format="hh")
    assert records.counts == {"read": 1802, "kept": 1796, "empty_field": 2, "differ_before_last_turn": 4}
    first = records.items[0]
    assert [role for role, _ in first.prompt.turns] == ["user", "assistant"] * 2 + ["user"]
    assert first.chosen.startswith("No, sorry!  All of these involve a pen")
    assert records.items == read(hh_file, "comparisons", on_error="skip").items
    assert not any("\n\nHuman:" in text for item in records.items for _, text in item.prompt.turns)
    assert read(hh_file, "prompts", on_error="skip", format="hh").counts["kept"] == 1799
