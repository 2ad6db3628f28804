"""A small file can unpack to more than a machine holds."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from rlhf.data.files import containers, values
from rlhf.data.files.values import raw_values
from rlhf.errors import DataError


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.txt"])
def test_a_line_has_a_longest_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(containers, "LONGEST", 64)
    path = tmp_path / name
    content = b'"first"\n"' + b"x" * 500 + b'"\n"last"\n"' + b"y" * 500
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found = list(raw_values(path))
    assert [raw.place for raw in found] == [f"{path}:{number}" for number in (1, 2, 3, 4)]
    assert [raw.error.reason if raw.error else None for raw in found] == [None, "too_long", None, "too_long"]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.zip"])
def test_an_item_of_a_list_has_a_longest_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(containers, "LONGEST", 64)
    path = tmp_path / name
    place = f"{path}/a.json" if name == "a.zip" else f"{path}"

    def found(content: str) -> list[tuple[str, object]]:
        if name == "a.zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.json", content)
        else:
            path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
        return [(raw.place, raw.value) for raw in raw_values(path)]

    items = [12345678901234567890, {"a": "e" * 30, "é": 1e-7}, "x" * 50, [], -1.5e300, None, True, 7]
    expected = [(f"{place}:{line}", item) for line, item in enumerate(items, 2)]
    for chunk in range(1, 20):
        monkeypatch.setattr(values, "CHUNK", chunk)
        text = "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]\n"
        assert found(text) == expected, "all of it is longer"
    assert found("\ufeff [ ] \n") == []
    with pytest.raises(DataError, match=r"a\.(json|zip|json\.gz).*:3: longer than"):
        found('[\n"first",\n"' + "x" * 500 + '"]')


def test_a_packed_text_has_a_longest_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that lies unpacked on the disk has none: a corpus in one file is what was meant."""
    monkeypatch.setattr(containers, "LONGEST", 64)
    plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    plain.write_text("x" * 500)
    packed.write_bytes(gzip.compress(b"x" * 500))
    assert [raw.value for raw in raw_values(plain, whole_text=True)] == ["x" * 500]
    (raw,) = raw_values(packed, whole_text=True)
    assert raw.error is not None and raw.error.reason == "too_long" and raw.place == f"{packed}:1"
    packed.write_bytes(gzip.compress(b"x" * 64))
    assert [raw.value for raw in raw_values(packed, whole_text=True)] == ["x" * 64]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_row_has_a_longest_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(containers, "LONGEST", 256)
    path = tmp_path / name

    def found(texts: list[str]) -> list[str | None]:
        table = pyarrow.table({"text": texts})
        if name == "a.parquet":
            parquet.write_table(table, path)
        else:
            with pyarrow.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)
        return [raw.error.reason if raw.error else None for raw in raw_values(path)]

    assert found(["a", "x" * 300, *"bcdefgh"]) == [None, "too_long", *[None] * 7]
    assert found(["x" * 200] * 300) == [None] * 300
    if name == "a.parquet":
        with pytest.raises(DataError, match="row group 0"):
            found(["x" * 2000])
