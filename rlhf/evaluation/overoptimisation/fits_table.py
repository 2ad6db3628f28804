"""Over-optimisation as a table: what a run or best-of-n reached, and the law of Gao et al. 2022 that it follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Track = Mapping[str, Any]
"""A record of `rlhf.evaluation.overoptimisation.gold_against_kl.Track`."""

BEST_OF_N = "best_of_n"


def fits_table(tracks: Sequence[Track]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: what was reached, and the law that it follows."""
    head = ["", "KL", "gold: start", "highest", "last", "proxy: last", "α", "β", "R²", "peak at d (KL)"]
    return head, [_fit_row(track) for track in tracks]


def _fit_row(track: Track) -> list[str]:
    points, fit = track["points"], track.get("fit")
    first, last = points[0], points[-1]
    top = max(points, key=lambda point: point["gold"])
    method = f"best of {last['n']}" if track["method"] == BEST_OF_N else f"{track['method']}, {last['step']} steps"
    where = f"n = {top['n']}" if "n" in top else f"step {top['step']}"
    cells = [
        f"{track['name']}, {method}",
        f"{last['kl']:.2f}",
        f"{first['gold']:.2f}",
        f"{top['gold']:.2f} ({where})",
        f"{last['gold']:.2f}{_interval(last, 'gold')}",
        f"{last['proxy_gain']:+.2f} sd",
    ]
    if fit is None:
        return [*cells, "–", "–", "–", "–"]
    for name in ("alpha", "beta"):
        error = fit.get(f"{name}_se")
        cells.append(f"{fit[name]:.2f}" + (f" ± {error:.2f}" if error is not None else ""))
    cells.append("–" if fit["r2"] is None else f"{fit['r2']:.2f}")
    peak = fit["peak_distance"]
    beyond = ", beyond what was measured" if fit["beyond"] else ""
    return [*cells, "none" if peak is None else f"{peak:.2f} ({peak**2:.2f}){beyond}"]


def _interval(point: Mapping[str, Any], name: str) -> str:
    low, high = point.get(f"{name}_low"), point.get(f"{name}_high")
    return "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
