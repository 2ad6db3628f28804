"""What `pip install` gives: one command that works from any folder, and no module that hides somebody else's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"rlhf", "lightning_modules", "callbacks", "tracking", "verbs", "launch", "conf", "hydra_plugins"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, since setuptools leaves build/ behind, and takes what an earlier build left there.
    source = folder / "source"
    names = [*OURS, "pyproject.toml", "README.md", "LICENSE", "train.py", "evaluate.py"]
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(source)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    except subprocess.CalledProcessError as error:
        if "setuptools" in error.stderr and "No matching distribution" in error.stderr:
            pytest.skip("the package registry can't be reached, from which pip takes setuptools")
        raise AssertionError(error.stderr) from error
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_packages_and_one_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert "rlhf-lab = launch.programs:main" in archive.read(entry).decode()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == OURS
    needed = {"conf/train.yaml", "rlhf/data/prompts/guide.txt", "rlhf/reporting/assets/report.css"}
    assert needed <= set(names)


@pytest.mark.slow
def test_the_command_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """Unpacked in front of this environment's packages: what `pip install` would put into site-packages."""
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}

    def run(*arguments: str, code: int = 0) -> str:
        command = [sys.executable, str(site / "launch" / "command" / "rlhf_lab.py"), *arguments]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr[-2000:]
        return done.stdout + done.stderr

    short = ["train.max_steps=1", "train.samples=0", "data.limit=60", "logger=csv", "hydra.run.dir=run"]
    run("train", "algo=sft", "model.init=random", *short)
    summary = json.loads((work / "run" / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("finished", 1)
    assert json.loads((work / "run" / "model" / "config.json").read_text())["model_type"] == "gpt2"
    run("report", "path=run")
    assert (work / "run" / "report.html").is_file()
    assert "algo.kl_coeff" in run("train", "algo=ppo", "algo.kl_coeff=1", code=2)
    assert "evaluate" in run("evaluat", code=2)
    assert {path.name for path in work.iterdir()} <= {"run", "outputs"}
    where = "import importlib.util as u; print(u.find_spec('launch').origin, u.find_spec('evaluate'))"
    done = subprocess.run(
        [sys.executable, "-c", where], cwd=work, env=environment, capture_output=True, text=True, check=True
    )
    assert str(site) in done.stdout and str(site / "evaluate.py") not in done.stdout
