"""`docs/extending.md` is followed to the letter, in a copy of the lab: what it says to write is written, and runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n## ")[1:]}
PARTS = ("rlhf", "lightning_modules", "callbacks", "launch", "conf", "docs", "train.py")


def blocks(section: str) -> Iterator[tuple[str, str, str]]:
    """(file, language, content) of every code block that belongs to a file; a file's name holds until the next one."""
    file = ""
    for match in re.finditer(r"^`([\w./-]+)`[^\n`]*:$|^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
        name, language, content = match.groups()
        if name:
            file = name
        elif language not in ("sh", "toml"):
            yield file, language, content


def commands(section: str) -> list[str]:
    shells = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line for shell in shells for line in shell.splitlines()]


def follow(section: str, lab: Path) -> None:
    """Make the section's files, and its changes: lines of a diff without `+` must stand in the file, once."""
    for name, language, content in blocks(section):
        file = lab / name
        if language != "diff":
            assert not file.exists(), f"{name} is there already"
            file.write_text(content, encoding="utf-8")
            continue
        lines = content.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} does not hold this once:\n{old}"
        file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def run(lab: Path, *arguments: str) -> str:
    """Standard output of a Python program in the copy, which stands before anything installed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=lab,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(lab), "HOME": str(lab), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_has_what_it_promises() -> None:
    assert list(SECTIONS) == ["A model", "A data set", "An algorithm"]
    for title, section in SECTIONS.items():
        assert list(blocks(section)) and commands(section), title


@pytest.mark.parametrize("title", SECTIONS)
def test_each_section_stands_alone(title: str, lab: Path) -> None:
    follow(SECTIONS[title], lab)
    for command in commands(SECTIONS[title]):
        python, script, *overrides = shlex.split(command)
        assert python == "python"
        composed = run(lab, script, *overrides, "--cfg", "job")
        for override in overrides:
            assert override.split("=", 1)[1] in composed


def test_together_they_train(lab: Path) -> None:
    for section in SECTIONS.values():
        follow(section, lab)
    run(lab, "-m", "rlhf.config.reference", "--write", "docs/configuration.md")
    assert "### `algo=simpo`" in (lab / "docs" / "configuration.md").read_text(encoding="utf-8")
    records = [
        {"history": f"What is {n}?", "human_ref_A": "A number.", "human_ref_B": f"It is {n}.", "labels": n % 2}
        for n in range(40)
    ]
    (lab / "votes.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    sizes = ("n_embd=16", "n_layer=1", "n_head=2", "n_positions=64")
    run(
        lab,
        "train.py",
        "algo=simpo",
        "model=distilgpt2",
        "data=shp",
        "data.path=votes.jsonl",
        "data.max_length=64",
        "data.val_fraction=0.2",
        "model.init=random",
        *(f"model.architecture.{size}" for size in sizes),
        "rollout.max_new_tokens=4",
        "train.max_steps=2",
        "train.batch_size=4",
        "logger=csv",
        "hydra.run.dir=run",
    )
    summary = json.loads((lab / "run" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["status"], summary["algo"], summary["model"], summary["data"]) == (
        "finished",
        "simpo",
        "distilgpt2",
        "shp",
    )
    assert summary["steps"] == 2 and 0 <= summary["final"]["val/accuracy"] <= 1
    assert list((lab / "run" / "model").glob("*.safetensors"))
