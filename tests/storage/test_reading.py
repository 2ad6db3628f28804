"""What nobody vouches for is read within limits, or refused with a reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlhf.storage import reading
from rlhf.storage.reading import Unreadable, open_regular, parse_json, read_json, read_json_lines, read_text, read_yaml


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    for name, kind in (("pipe", "FIFO"), ("folder", "folder")):
        with pytest.raises(Unreadable, match=kind):
            open_regular(tmp_path / name)
    with pytest.raises(Unreadable, match="device"):
        open_regular(Path("/dev/zero"))
    with pytest.raises(Unreadable, match="link"):
        open_regular(tmp_path / "link", follow=False)
    assert read_text(tmp_path / "link") == "x"
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none")


def test_texts_have_a_length_and_an_encoding(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"a\r\nb")
    assert read_text(file, 4) == "a\r\nb"
    with pytest.raises(Unreadable, match="longer"):
        read_text(file, 3)
    file.write_bytes(b"a\xff")
    with pytest.raises(Unreadable, match="0xff at position 1"):
        read_text(file)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "9" * 10**5, "{", "", "nul"])
def test_no_json_is_an_answer_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "f").write_text(text)
    with pytest.raises(Unreadable, match="not JSON"):
        parse_json(text)
    with pytest.raises(Unreadable, match="not JSON"):
        read_json(tmp_path / "f")


def test_lines_end_with_a_line_feed_alone(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d\x0b\x0c\x1c"
    file = tmp_path / "f.jsonl"
    import json

    file.write_text("\n".join([json.dumps({"t": text}, ensure_ascii=False), "[1]", "{", '{"t": 2}\r', '{"t":']))
    assert [row["t"] for row in read_json_lines(file)] == [text, 2]


def test_a_line_beyond_the_limit_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text('{"a": 1}\n' + '{"a": "' + "x" * 100 + '"}\n' + '{"a": 2}\n')
    assert [row["a"] for row in read_json_lines(file, 16)] == [1, 2]


def test_yaml_of_plain_values(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("a: [1, b]\nc: null\n")
    assert read_yaml(file) == {"a": [1, "b"], "c": None}


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "&a [*a]",
        "[" * 5000,
        "!!python/object/apply:os.system [true]",
        "!!int ''",
        "!!timestamp x",
        "a: " + "9" * 5000,
        "{[]: 1}",
        "? {a: 1}\n: 2",
        "\t",
        "a: b: c",
        "'",
    ],
)
def test_other_yaml_is_refused_with_a_reason(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(Unreadable, match="not YAML"):
        read_yaml(tmp_path / "f.yaml")


def test_long_yaml_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("#" * (reading.YAML_LIMIT + 1))
    with pytest.raises(Unreadable, match="longer"):
        read_yaml(tmp_path / "f.yaml")
