"""Values that refer to something: other keys, the environment, the home folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.composition.compose import load
from launch.composition.home import at_home, expand_home
from rlhf.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("model.path=${modl.name}", ["model.path", "modl.name", "model.name"]),
        ("train.batch_size=${train.batchsize}", ["train.batch_size", "train.batchsize"]),
        ("data.path=${oc.env:NOT_SET_ANYWHERE}", ["data.path", "NOT_SET_ANYWHERE"]),
        ("data.path=${nope:1}", ["data.path", "nope"]),
        ("data.path=${data.path}", ["data.path"]),
        ("data.path=x/${data.name", ["data.path"]),
    ],
)
def test_what_can_not_be_resolved_is_named(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["algo=sft", override])
    assert all(part in str(caught.value) for part in parts) and "\n" not in str(caught.value)


def test_what_can_be_resolved_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_FOLDER", str(tmp_path))
    (tmp_path / "x").touch()
    assert load(["algo=sft", "data=jsonl", "data.path=${oc.env:SOME_FOLDER}/x"]).data.path == str(tmp_path / "x")


@pytest.mark.parametrize("written", ["~/x.jsonl", "'~/x.jsonl'", '"~/x.jsonl"', "${oc.env:TILDE}"])
def test_the_home_folder_in_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    home = tmp_path / "it's home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TILDE", "~/x.jsonl")
    for file in ("x.jsonl",):
        (home / file).touch()
    config = load(["algo=sft", "data=jsonl", f"data.path={written}", f"model.path={written}", f"model.init={written}"])
    assert {config.data.path, config.model.path, config.model.init} == {str(home / "x.jsonl")}


def test_what_is_no_path_stays() -> None:
    kept = ["~key=1", "~logger", "seed=3", "a=~nobody-of-this-name/x", "a='~/x'", "a=[~/x]", "-m", "a=b~/c"]
    assert at_home(kept) == kept
    assert expand_home({"a": ["b~", 3, None, ("~nobody-of-this-name",)]}) == {
        "a": ["b~", 3, None, ("~nobody-of-this-name",)]
    }
