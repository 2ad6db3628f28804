"""A small file can unpack to more than a machine holds."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from rlhf.data import files
from rlhf.data.files import raw_values


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.txt"])
def test_a_line_has_a_longest_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(files, "LONGEST", 64)
    path = tmp_path / name
    content = b'"first"\n"' + b"x" * 500 + b'"\n"last"\n"' + b"y" * 500
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found = list(raw_values(path))
    assert [raw.place for raw in found] == [f"{path}:{number}" for number in (1, 2, 3, 4)]
    assert [raw.error.reason if raw.error else None for raw in found] == [None, "too_long", None, "too_long"]
