"""Real disks that fill up or become read-only, in place of errors that are raised for the occasion."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import verbs.evaluate.evaluate
import verbs.train.stage
from evaluate import evaluate
from launch.programs import report
from rlhf.runs import Summary

pytestmark = pytest.mark.slow
Remount = Callable[[str], None]
ROOM = "size=64m"


@pytest.fixture
def remount(tmp_path: Path) -> Iterator[Remount]:
    """`remount("size=1m")`, `remount("ro")`: changes a file system in memory that is mounted at `disk`."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ROOM, "rlhf", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield lambda how: subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def weights(directory: str) -> dict[str, Any]:
    return load_file(Path(directory) / "model" / "model.safetensors")


def fill() -> Path:
    """A file that takes all the room that is left."""
    ballast = Path("disk/ballast")
    with suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass
    return ballast


def test_a_run_that_fills_the_disk_goes_on_when_there_is_room(
    main: Any, remount: Remount, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first checkpoint, at a later one, and at the export."""
    command = "algo=sft model.init=random train.keep_checkpoints=9"
    assert main(f"{command} hydra.run.dir=whole") == 0
    total = sum(path.stat().st_size for path in Path("whole").rglob("*") if path.is_file())
    right = verbs.train.stage.export
    for part, place in ((1 / 9, "00000002.ckpt"), (1 / 2, "0000000[46].ckpt"), (3, "model: the export")):
        remount(f"size={int(total * part)}")
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(verbs.train.stage, "export", lambda *rest, **more: (fill(), right(*rest, **more)))
            assert main(f"{command} hydra.run.dir=disk/run") == 2
        said = capfd.readouterr().err.strip().splitlines()
        assert len(said) == 1 and re.search(place, said[0]) and "no space is left on the disk" in said[0]
        assert Summary.read(Path("disk/run")).status == "failed"
        remount(ROOM)
        Path("disk/ballast").unlink(missing_ok=True)
        assert main(f"{command} hydra.run.dir=disk/run resume=true") == 0
        assert Summary.read(Path("disk/run")).status == "finished"
        found = weights("disk/run")
        assert all((weight == found[name]).all() for name, weight in weights("whole").items())
        shutil.rmtree("disk/run")


def test_a_disk_that_is_full_or_read_only_at_the_start(main: Any, remount: Remount, capfd: Any) -> None:
    command = "algo=sft model.init=random train.max_steps=1 hydra.run.dir=disk/run"
    ballast = fill()
    for reason in ("no space is left on the disk", "the disk is read-only"):
        assert main(command) == 2
        said = capfd.readouterr().err.strip()
        assert said.startswith("hydra.run.dir: ") and reason in said and "\n" not in said
        if ballast.exists():
            ballast.unlink()
            remount("ro")
    remount("rw")
    assert main(command) == 0


def test_a_full_disk_at_an_evaluation_and_its_report(
    main: Any, remount: Remount, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main("algo=sft model.init=random train.max_steps=1 hydra.run.dir=sft") == 0
    quick = "rollout.max_new_tokens=8 evaluation.prompts=6 evaluation.texts=3 evaluation.guide=false"
    command = [*quick.split(), "models.sft=sft", "hydra.run.dir=disk/out"]
    right = verbs.evaluate.evaluate.write
    with monkeypatch.context() as patch:
        patch.setattr(verbs.evaluate.evaluate, "write", lambda *rest: (fill(), right(*rest)))
        assert evaluate.main(command) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "evaluation.json" in said[0] and "no space is left on the disk" in said[0]
    assert Summary.read(Path("disk/out")).status == "failed"
    Path("disk/ballast").unlink()
    assert evaluate.main([*command, "resume=true"]) == 0
    files = [Path("disk/out/report.html"), *Path("disk/out/report_files").iterdir()]
    before = {path: path.read_bytes() for path in files}
    assert len(before) > 2
    fill()
    capfd.readouterr()
    assert report.main(["path=disk/out"]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "disk/out" in said[0] and "no space is left on the disk" in said[0]
    assert {path: path.read_bytes() for path in before} == before
