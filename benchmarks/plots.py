"""Draws what `benchmarks.scaling` measured: `python -m benchmarks.plots FILE.json docs/images/scaling.svg`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

LABELS = {"batch": "examples a step", "length": "tokens of the longest path", "model": "weights of the blocks"}


def place(point: dict[str, Any]) -> float:
    """Where a point stands on its axis; models by their size, since their names have none."""
    return float(point["weights"] if point["sweep"] == "model" else point["x"])


def lines(points: list[dict[str, Any]], sweep: str) -> dict[str, list[float]]:
    """What is drawn over one axis, by the place on it: seconds a step, its cheapest possible time, gigabytes."""
    chosen = sorted((p for p in points if p["sweep"] == sweep), key=place)
    arithmetic = [p["useful"]["preparation"] + p["useful"]["step"] for p in chosen]
    return {
        "place": [place(p) for p in chosen],
        "seconds": [p["examples"] / p["examples_per_second"]["ours"] for p in chosen],
        "least": [flops / p["peak"] for flops, p in zip(arithmetic, chosen, strict=True)],
        "gigabytes": [p["ours"]["memory"] / 1e9 for p in chosen],
    }


def draw(measured: dict[str, Any], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter

    sweeps = [name for name in LABELS if any(p["sweep"] == name for p in measured["points"])]
    figure, axes = pyplot.subplots(2, len(sweeps), figsize=(4 * len(sweeps), 6), squeeze=False, sharex="col")
    for column, sweep in enumerate(sweeps):
        data = lines(measured["points"], sweep)
        time, memory = axes[0][column], axes[1][column]
        time.loglog(data["place"], data["seconds"], "o-", label="measured")
        time.loglog(data["place"], data["least"], "--", color="grey", label="useful arithmetic at the peak")
        memory.semilogx(data["place"], data["gigabytes"], "o-")
        memory.set_ylim(bottom=0)
        memory.set_xlabel(LABELS[sweep])
        memory.set_xticks(data["place"], [f"{x:g}" if x < 1e5 else f"{x / 1e6:.0f}M" for x in data["place"]])
        memory.minorticks_off()
        time.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        time.yaxis.set_major_formatter("{x:g}")
        time.yaxis.set_minor_formatter(NullFormatter())
    axes[0][0].set_ylabel("seconds a step")
    axes[0][0].legend(loc="upper left", fontsize="small")
    axes[1][0].set_ylabel("peak memory, GB")
    figure.suptitle(f"{measured['stage']}: cost of a step")
    figure.tight_layout()
    figure.savefig(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument("measured", type=Path, help="what benchmarks.scaling wrote")
    parser.add_argument("out", type=Path, help="image; its ending says which kind")
    given = parser.parse_args()
    draw(json.loads(given.measured.read_text(encoding="utf-8")), given.out)
