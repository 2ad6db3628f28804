"""The runner of benchmarks/gpu: a part that fails, hangs or dies is written down, and the next one gets its turn."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import runner
from benchmarks.gpu.parts import Context, Part, Skipped
from benchmarks.gpu.runner import Runner, line


def works(context: Context) -> dict[str, Any]:
    context.note("half", 1)
    return {"says": "well", "pid": os.getpid(), "left": context.left}


def fails(context: Context) -> dict[str, Any]:
    context.note("before", 2)
    raise ValueError("a wrong size")


def hangs(context: Context) -> dict[str, Any]:
    context.note("before", 3)
    signal.pause()
    return {}


def dies(context: Context) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def breaks_cuda(context: Context) -> dict[str, Any]:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def cannot(context: Context) -> dict[str, Any]:
    context.need_cuda("quantisation")
    return {}


def errs(context: Context) -> dict[str, Any]:
    return {"wrong": ["a number"], "says": "wrong: a number"}


def looks(context: Context) -> dict[str, Any]:
    """What the file says while a part runs."""
    record: dict[str, Any] = json.loads((context.out / "trial.json").read_text(encoding="utf-8"))
    return {"parts": record["parts"]}


def part(name: str, seconds: float = 60) -> Part:
    return Part(name, f"tests.benchmarks.test_gpu_runner:{name}", seconds)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(runner, "MACHINE", part("works"))
    monkeypatch.setattr(runner, "FEWEST_SECONDS", 0.5)

    def run(*parts: Part, deadline: float = 100) -> dict[str, Any]:
        options = {"device": "cpu", "tiny": True, "folder": str(tmp_path), "out": str(tmp_path), "data": None}
        found = Runner("trial", options | {"models": str(tmp_path)}, deadline, say=lambda _: None)
        record = found.run(parts)
        assert json.loads(found.file.read_text(encoding="utf-8")) == record
        assert not list(tmp_path.glob("*.part")) and (tmp_path / "trial.log").exists()
        parts_found: dict[str, Any] = record["parts"]
        return parts_found

    return run


def test_a_failed_part_is_recorded_and_the_next_goes_on(run: Any) -> None:
    found = run(part("fails"), part("errs"), part("cannot"), part("looks"))
    assert found["errs"]["status"] == "wrong"
    assert found["fails"]["status"] == "failed" and found["fails"]["notes"] == {"before": 2}
    assert "Traceback" in found["fails"]["error"] and "ValueError: a wrong size" in found["fails"]["error"]
    assert found["cannot"] == found["cannot"] | {"status": "skipped", "reason": "quantisation needs a GPU"}
    seen = found["looks"]["result"]["parts"]
    assert seen["works"]["result"]["says"] == "well" and seen["fails"]["status"] == "failed"
    assert seen["looks"]["status"] == "running", "a run that is cut off has said what it was at"


def test_a_part_that_hangs_or_dies_takes_no_other_along(run: Any) -> None:
    found = run(part("hangs", 1.5), part("dies"), part("breaks_cuda"), part("looks"))
    assert found["hangs"]["status"] == "stopped" and found["hangs"]["notes"] == {"before": 3}
    assert found["dies"]["status"] == "failed" and str(-signal.SIGSEGV) in found["dies"]["error"]
    assert "Segmentation fault" in found["dies"]["error"], "the stack, from the log"
    assert found["breaks_cuda"]["status"] == "failed"
    assert found["looks"]["status"] == "ok", "in a new process, since CUDA is of no use after its first error"


def test_a_warm_process_is_shared(run: Any) -> None:
    first = run(part("fails"))["works"]["result"]["pid"]
    assert first != os.getpid()


def test_no_part_is_begun_without_time(run: Any) -> None:
    found = run(part("hangs"), part("looks"), deadline=4)
    assert found["hangs"]["status"] == "stopped" and found["hangs"]["seconds"] < 8
    assert found["looks"] == {"status": "skipped", "reason": "no time is left", "seconds": found["looks"]["seconds"]}


def test_parts_get_what_is_left_of_the_deadline(run: Any) -> None:
    assert run(part("works"), deadline=30)["works"]["result"]["left"] < 30


def test_unknown_parts_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        runner.main("check", "", [part("works")], 10, ["--only", "nobody", "--out", str(tmp_path)])
    assert stop.value.code == 2 and "nobody" in capsys.readouterr().err


def test_skipping_is_no_failure() -> None:
    assert line("a", {"status": "skipped", "seconds": 1.0, "reason": "why"}) == "a: skipped in 1 s: why"
    assert isinstance(Skipped("x"), Exception)
