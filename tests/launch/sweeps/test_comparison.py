"""What stands in the table of a sweep beside what each run reports of itself."""

from __future__ import annotations

import json
from pathlib import Path

from launch.sweeps.comparison import rows_of
from rlhf.reporting.run_files import last_samples
from rlhf.runs import Summary


def samples(folder: Path, lines: list[dict[str, object]]) -> None:
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "samples.jsonl").write_text(text, encoding="utf-8")


def sample(step: int, response: str, kl: float) -> dict[str, object]:
    return {"step": step, "prompt": [["user", "Where?"]], "response": response, "finished": True, "tokens": 2, "kl": kl}


def test_the_last_samples_are_a_measure_of_every_algorithm(tmp_path: Path) -> None:
    samples(tmp_path / "run", [sample(0, "a", 5.0), sample(9, "b", 1.0), sample(9, "c", 2.0)])
    assert last_samples(tmp_path / "run") == {"samples/kl": 1.5}, "no judge knows this prompt"
    assert last_samples(tmp_path) == {}
    Summary(status="finished", algo="simpo", final={"val/accuracy": 0.75}).write(tmp_path / "run")
    (row,) = rows_of({0: (["algo=simpo"], tmp_path / "run")})
    assert row.final == {"val/accuracy": 0.75, "samples/kl": 1.5}
    Summary(status="failed", algo="simpo", final={}).write(tmp_path / "run")
    (row,) = rows_of({0: (["algo=simpo"], tmp_path / "run")})
    assert row.final == {}, "a run that failed has no result"
