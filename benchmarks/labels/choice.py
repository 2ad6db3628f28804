"""How many comparisons a reward model needs, where `collect.select` chooses them, against as many at random.

    python -m benchmarks.labels.choice POOL SFT --out choice.jsonl          # append; finished points are not done again
    python -m benchmarks.labels.choice POOL SFT --out choice.jsonl --show   # the table

POOL is the `preferences.jsonl` of a collection on the embedded task, SFT the run that its reward models start from. A
fifth of its prompts, by their hash, is held out with all its pairs as the collection's noisy annotator ranked them.
From the others each way asks about `--step` pairs, trains `--members` reward models on all that was asked so far, and
lets them choose the next `--step`. The first step is at random for all. The same annotator answers, with its noise.

Accuracy is the mean over members on the held-out pairs. The comparisons that a way needs for an accuracy are read off
between its points.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from collect import collect
from rlhf.runs import Summary
from train import train

QUIET = "logger=csv callbacks=default strategy.threads=1"


def split(pool: Path, folder: Path) -> tuple[Path, Path]:
    """Files of the prompts to choose from, and of those held out."""
    parts: dict[bool, list[str]] = {True: [], False: []}
    for line in pool.read_text(encoding="utf-8").rstrip("\n").split("\n"):
        digest = hashlib.sha256(json.dumps(json.loads(line)["prompt"]).encode()).digest()
        parts[digest[0] < 256 / 5].append(line)
    files = folder / "choose.jsonl", folder / "held_out.jsonl"
    for file, held_out in zip(files, (False, True), strict=True):
        file.write_text("\n".join(parts[held_out]) + "\n", encoding="utf-8")
    return files


def call(program: Any, line: str) -> None:
    """A program of the lab in this process, its output kept for a failure."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = program.main(line.split())
    if code:
        raise SystemExit(f"{line}\n{said.getvalue()[-3000:]}")


def points(way: str, seed: int, files: tuple[Path, Path], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What is reached after each step."""
    folder = Path(options.work, f"{way}-{seed}")
    asked: list[Path] = []
    models: list[Path] = []
    for step in range(options.steps):
        used = "random" if not models else way
        out = folder / f"asked{step}"
        line = f"collect.answers={files[0]} collect.annotator=gold collect.select={used}"
        line += f" collect.comparisons={options.step} collect.prompts={options.prompts}"
        if asked:
            line += f" collect.exclude=[{','.join(f'{path}/preferences.jsonl' for path in asked)}]"
        if used in ("disagreement", "margin"):
            line += f" collect.ensemble=[{','.join(map(str, models))}]"
        # A pair of `diverse` is placed by a model's states.
        line += f" model.init={options.sft} seed={seed} strategy.threads=1 resume=true hydra.run.dir={out}"
        call(collect, line)
        asked.append(out)
        files_asked = ",".join(f"{path}/preferences.jsonl" for path in asked)
        models, found = [], []
        for member in range(options.members):
            model = folder / f"model{step}-{member}"
            call(
                train,
                f"algo=reward model.init={options.sft} data=jsonl data.path=[{files_asked}] data.val_path={files[1]} "
                f"seed={100 * seed + member} train.epochs={options.epochs} train.batch_size=8 algo.lr={options.lr} "
                f"train.val_every=null algo.center=false {QUIET} resume=true hydra.run.dir={model}",
            )
            found.append(Summary.read(model).final["val/accuracy"])
            models.append(model)
        yield {
            "way": way,
            "seed": seed,
            "comparisons": (step + 1) * options.step,
            "accuracy": statistics.fmean(found),
            "members": found,
        }


def needed(curve: Sequence[tuple[float, float]], accuracy: float) -> float | None:
    """Comparisons at which a curve of (comparisons, accuracy) first reaches an accuracy, between its points linearly;
    `None`: it does not."""
    before: tuple[float, float] | None = None
    for x, y in curve:
        if y >= accuracy:
            if before is None or y == before[1]:
                return x
            return before[0] + (x - before[0]) * (accuracy - before[1]) / (y - before[1])
        before = x, y
    return None


def show(lines: Sequence[dict[str, Any]], target: float) -> str:
    """A table in Markdown: accuracy by comparisons, mean and range over seeds, and comparisons needed."""
    ways = list(dict.fromkeys(line["way"] for line in lines))
    sizes = sorted({line["comparisons"] for line in lines})
    rows = [
        f"| way | {' | '.join(map(str, sizes))} | needed for {target:.0%}, by seed |",
        "| --- " * (len(sizes) + 2) + "|",
    ]
    for way in ways:
        cells = []
        for size in sizes:
            mine = [line["accuracy"] for line in lines if line["way"] == way and line["comparisons"] == size]
            cells.append(f"{statistics.fmean(mine):.1%} ({min(mine):.1%}–{max(mine):.1%})" if mine else "")
        by_seed = []
        for seed in sorted({line["seed"] for line in lines if line["way"] == way}):
            curve = sorted((p["comparisons"], p["accuracy"]) for p in lines if p["way"] == way and p["seed"] == seed)
            reached = needed(curve, target)
            by_seed.append("–" if reached is None else f"{reached:.0f}")
        rows.append(f"| {way} | {' | '.join(cells)} | {', '.join(by_seed)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("sft", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("outputs/choice"))
    parser.add_argument("--ways", nargs="+", default=["random", "disagreement", "margin", "diverse"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--step", type=int, default=250)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=800, help="of the pool, which is scored anew for each choice")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--target", type=float, default=0.82)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    known = [json.loads(line) for line in options.out.read_text().split("\n") if line] if options.out.exists() else []
    if not options.show:
        os.environ["WANDB_MODE"] = "disabled"
        for name in ("pool", "sft", "work"):
            setattr(options, name, getattr(options, name).resolve())
        options.work.mkdir(parents=True, exist_ok=True)
        files = split(options.pool, options.work)
        with options.out.open("a") as out:
            for seed in options.seeds:
                for way in options.ways:
                    for point in points(way, seed, files, options):
                        if not any(all(old[k] == point[k] for k in ("way", "seed", "comparisons")) for old in known):
                            known.append(point)
                            out.write(json.dumps(point) + "\n")
                            out.flush()
                            print(json.dumps(point), flush=True)
    print(show(known, options.target))


if __name__ == "__main__":
    main()
