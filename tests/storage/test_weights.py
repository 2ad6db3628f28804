"""Hashes are computed from what is loaded, and nothing outside of a model's folder is."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from rlhf.errors import ParentError
from rlhf.storage import weights
from rlhf.storage.weights import weight_files, weights_sha256


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sharded(folder: Path, names: list[Any], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / weights.INDEX).write_text(json.dumps({"weight_map": {str(i): name for i, name in enumerate(names)}}))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_shards_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    sharded(tmp_path, ["b.safetensors", "a.safetensors", "b.safetensors"])
    (tmp_path / "b.safetensors").write_bytes(b"2")
    (tmp_path / "a.safetensors").write_bytes(b"1")
    (tmp_path / "z.safetensors").write_bytes(b"not loaded")
    assert weights_sha256(tmp_path) == digest(b"12")
    (tmp_path / weights.WEIGHTS).write_bytes(b"whole")
    assert weights_sha256(tmp_path) == digest(b"whole")  # transformers prefers it


def test_without_an_index_all_count(tmp_path: Path) -> None:
    assert weight_files(tmp_path) == []
    (tmp_path / "b.safetensors").write_bytes(b"2")
    (tmp_path / "a.safetensors").write_bytes(b"1")
    assert weights_sha256(tmp_path) == digest(b"12")


def test_what_the_configuration_names_is_what_counts(tmp_path: Path) -> None:
    (tmp_path / weights.WEIGHTS).write_bytes(b"shown")
    (tmp_path / "other.safetensors").write_bytes(b"loaded")
    (tmp_path / "config.json").write_text(json.dumps({weights.EXPLICIT: "other.safetensors"}))
    assert weights_sha256(tmp_path) == digest(b"loaded")
    (tmp_path / "config.json").write_text(json.dumps({weights.EXPLICIT: "adapter_model.bin"}))
    with pytest.raises(ParentError, match=r"adapter_model\.bin"):
        weight_files(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../other/model.safetensors",
        "/etc/model.safetensors",
        "a/../../x.safetensors",
        "..\\x.safetensors",
        "pytorch_model.bin",
        "a\0.safetensors",
        "[" * 300 + ".safetensors",
        "",
        7,
        None,
        ["a"],
    ],
)
@pytest.mark.parametrize("where", ["index", "config"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: Any, where: str) -> None:
    folder = tmp_path / "model"
    if where == "index":
        sharded(folder, [name])
    elif name is None:
        return  # the key is not set
    else:
        folder.mkdir()
        (folder / weights.WEIGHTS).write_bytes(b"1")
        (folder / "config.json").write_text(json.dumps({weights.EXPLICIT: name}))
    with pytest.raises(ParentError) as caught:
        weights_sha256(folder)
    assert str(folder) in str(caught.value) and repr(name)[:300] in str(caught.value)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"weight_map": []}', '{"weight_map": 3}', "[" * 10**5])
def test_a_broken_index_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / weights.INDEX).write_text(content)
    with pytest.raises(ParentError) as caught:
        weight_files(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / weights.INDEX))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    sharded(tmp_path, ["gone.safetensors"])
    with pytest.raises(ParentError, match=r"gone\.safetensors"):
        weight_files(tmp_path)


def test_the_cache_of_the_hub_consists_of_links(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123"
    blobs.mkdir()
    (blobs / "abc").write_bytes(b"1")
    snapshot.mkdir(parents=True)
    sharded(snapshot, ["model-1.safetensors"])
    (snapshot / "model-1.safetensors").symlink_to("../../blobs/abc")
    assert weights_sha256(snapshot) == digest(b"1")


def test_pipes_are_no_weights(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(ParentError, match="FIFO"):
        weights_sha256(tmp_path)


def test_large_weights_are_hashed_once_and_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(weights, "SMALL", 0)
    read: list[Path] = []
    right = weights.open_regular
    monkeypatch.setattr(weights, "open_regular", lambda path: (read.append(path), right(path))[1])
    folder = tmp_path / "model"
    folder.mkdir()
    file = folder / weights.WEIGHTS
    file.write_bytes(b"1")
    assert weights_sha256(folder) == digest(b"1")
    assert not (tmp_path / "cache").exists(), "a file that was just written may change within one tick of the clock"
    monkeypatch.setattr(weights, "SETTLED", -1.0)
    for _ in range(3):
        assert weights_sha256(folder) == digest(b"1")
    assert len(read) == 2
    before = file.stat()
    with file.open("r+b") as stream:  # same size and inode; the time of modification is set back
        stream.write(b"2")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights_sha256(folder) == digest(b"2")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": "0", "files": 1}'])
def test_a_damaged_entry_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(weights, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(weights, "SMALL", 0)
    monkeypatch.setattr(weights, "SETTLED", -1.0)
    (tmp_path / weights.WEIGHTS).write_bytes(b"1")
    weights_sha256(tmp_path)
    for entry in (tmp_path / "cache").iterdir():
        entry.write_text(content)
    assert weights_sha256(tmp_path) == digest(b"1")


def test_a_cache_that_can_not_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(weights, "CACHE", tmp_path / "file" / "cache")
    monkeypatch.setattr(weights, "SMALL", 0)
    monkeypatch.setattr(weights, "SETTLED", -1.0)
    (tmp_path / weights.WEIGHTS).write_bytes(b"1")
    assert weights_sha256(tmp_path) == digest(b"1")
    assert str(tmp_path / "file" / "cache") in caplog.text
