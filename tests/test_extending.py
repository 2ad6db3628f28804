"""`docs/extending.md` is followed to the letter, in a copy of the lab: what it says to write is written, and runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ci

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n## ")[1:]}
PACKAGES = ("rlhf", "lightning_modules", "callbacks", "tracking", "verbs", "launch")
PARTS = (*PACKAGES, "conf", "docs", "train.py", "evaluate.py")


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
    """Make the section's files. Nothing that is there already is changed."""
    for name, _, content in blocks(section):
        file = lab / name
        assert not file.exists(), f"{name} is there already"
        file.write_text(content, encoding="utf-8")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def environment(lab: Path) -> dict[str, str]:
    """In which the copy stands before anything installed."""
    kept = {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
    here = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(lab), "HOME": str(lab), "HF_HUB_OFFLINE": "1"}
    return kept | here


def run(lab: Path, *arguments: str, typed: str = "") -> str:
    """What a Python program prints in the copy."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=lab,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(lab),
        input=typed,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


VERBS = """
import sys
from launch.programs import PROGRAMS
for line in sys.argv[1:]:
    verb, *overrides = line.split()
    sys.argv = [f"{verb}.py", *overrides]
    print("==", line, flush=True)
    try:
        PROGRAMS[verb]()
    except SystemExit as stop:
        if stop.code:
            sys.exit(f"{line}: {stop.code}")
"""
"""Verbs one after the other in one process: importing torch for each would take most of the time."""


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


SIZES = "model.init=random " + " ".join(
    f"model.architecture.{size}" for size in ("n_embd=16", "n_layer=1", "n_head=2", "n_positions=64")
)
SHORT = (
    f"algo=slic model=distilgpt2 {SIZES} data=shp data.path=votes.jsonl data.max_length=64 data.val_fraction=0.2 "
    "rollout.max_new_tokens=4 train.batch_size=4 train.samples=2 logger=csv"
)


def write_votes(lab: Path) -> None:
    records = [
        {"history": f"What is {n}?", "human_ref_A": "A number.", "human_ref_B": f"It is {n}.", "labels": n % 2}
        for n in range(40)
    ]
    (lab / "votes.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")


@pytest.fixture
def extended(lab: Path) -> Path:
    for section in SECTIONS.values():
        follow(section, lab)
    write_votes(lab)
    return lab


def summary_of(run_directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_directory / "summary.json").read_text(encoding="utf-8"))
    return found


def check_trained(run_directory: Path) -> None:
    summary = summary_of(run_directory)
    assert [summary[name] for name in ("status", "algo", "model", "data", "steps")] == [
        "finished",
        "slic",
        "distilgpt2",
        "shp",
        2,
    ]
    assert 0 <= summary["final"]["val/accuracy"] <= 1
    assert list((run_directory / "model").glob("*.safetensors"))
    assert len((run_directory / "samples.jsonl").read_text(encoding="utf-8").splitlines()) >= 4, "answers are sampled"


def test_together_they_train_and_every_verb_knows_them(extended: Path) -> None:
    run(extended, "-m", "rlhf.config.reference", "--write", "docs/configuration.md")
    assert "### `algo=slic`" in (extended / "docs" / "configuration.md").read_text(encoding="utf-8")
    told = run(
        extended,
        "-c",
        VERBS,
        f"train {SHORT} train.max_steps=2 hydra.run.dir=outputs/run",
        f"plan {SHORT} train.max_steps=2",
        "report path=outputs/run",
        "chat model.init=auto",
        typed="Hello\n",
    )
    check_trained(extended / "outputs" / "run")
    assert "slic" in (extended / "outputs" / "run" / "report.html").read_text(encoding="utf-8")
    plan = told.split("== plan")[1].split("== report")[0]
    assert "policy" in plan and "reference" not in plan, "SLiC-HF has none"


@pytest.mark.slow
def test_they_are_swept_and_evaluated(extended: Path) -> None:
    run(
        extended,
        "-c",
        VERBS,
        f"train -m {SHORT} train.max_steps=2 algo.margin=0.5,1.0 hydra.sweep.dir=sweep "
        "hydra.sweep.subdir=${hydra.job.num}",
        "evaluate +models.mine=sweep/0 +models.other=sweep/1 evaluation.reference=mine data=shp data.path=votes.jsonl "
        "data.val_fraction=0.2 data.test_fraction=0.2 evaluation.prompts=2 evaluation.judge=none logger=csv "
        "data.max_length=64 rollout.max_new_tokens=4 hydra.run.dir=compared",
    )
    assert "0.5" in (extended / "sweep" / "comparison.csv").read_text(encoding="utf-8")
    record = json.loads((extended / "compared" / "evaluation.json").read_text(encoding="utf-8"))
    assert set(record["models"]) == {"mine", "other"}


@pytest.mark.slow
def test_killed_they_go_on_to_the_same_weights(extended: Path) -> None:
    line = [*SHORT.split(), "train.max_steps=60", "train.checkpoint_every=5", "train.val_every=1000"]
    run(extended, "train.py", *line, "hydra.run.dir=whole")
    command = [sys.executable, "train.py", *line, "hydra.run.dir=killed", "resume=true"]
    with subprocess.Popen(command, cwd=extended, env=environment(extended), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list((extended / "killed" / "checkpoints").glob("step-*.ckpt")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert summary_of(extended / "killed")["status"] != "finished"
    run(extended, *command[1:])
    assert summary_of(extended / "killed")["model_sha256"] == summary_of(extended / "whole")["model_sha256"]


@pytest.mark.slow
def test_shards_of_two_processes_give_the_same_numbers(extended: Path) -> None:
    for name, strategy in (
        ("one", "strategy=cpu"),
        ("two", "strategy=fsdp strategy.accelerator=cpu strategy.devices=2"),
    ):
        run(extended, "train.py", *SHORT.split(), "train.max_steps=2", *strategy.split(), f"hydra.run.dir={name}")
        check_trained(extended / name)
    one, two = (summary_of(extended / name)["final"]["val/loss"] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-4)


def test_a_package_of_ones_own_adds_an_algorithm(lab: Path, tmp_path: Path) -> None:
    """The same four files outside of the lab: an entry point names the keys, `--config-dir` the option."""
    moved = {
        "rlhf/objectives/slic.py": "mypackage/formula.py",
        "rlhf/config/algorithms/slic.py": "mypackage/slic_keys.py",
        "lightning_modules/slic.py": "mypackage/slic.py",
        "conf/algo/slic.yaml": "myconf/algo/slic.yaml",
    }
    for name, _, content in blocks(SECTIONS["An algorithm"]):
        file = lab / moved[name]
        file.parent.mkdir(parents=True, exist_ok=True)
        content = content.replace("rlhf.objectives.slic", "mypackage.formula")
        file.write_text(content.replace("lightning_modules.slic", "mypackage.slic"), encoding="utf-8")
    (lab / "mypackage" / "__init__.py").touch()
    installed = lab / "mypackage-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mypackage\nVersion: 1\n", encoding="utf-8")
    (entry,) = re.findall(r"^```toml\n\[project.entry-points.\"(.*)\"\]\n(.*)\n```", SECTIONS["An algorithm"], re.M)
    name, value = (part.strip(' "') for part in entry[1].split("="))
    (installed / "entry_points.txt").write_text(f"[{entry[0]}]\n{name} = {value}\n", encoding="utf-8")
    for section in ("A model", "A data set"):
        follow(SECTIONS[section], lab)
    write_votes(lab)
    before = {path: path.stat().st_mtime_ns for path in lab.rglob("*.py")}
    run(lab, "train.py", "--config-dir", "myconf", *SHORT.split(), "train.max_steps=2", "hydra.run.dir=outputs/run")
    check_trained(lab / "outputs" / "run")
    assert {path: path.stat().st_mtime_ns for path in before} == before
