"""What votes say of what was judged: how often one model wins, and whether a run's scores are deserved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from rlhf.evaluation.intervals import wilson
from rlhf.labelling.tally import FIRST, TIE, items_of
from rlhf.labelling.vote_log import Line

SPOT_CHECK = "spot_check"
"""Folder of a run with the votes about its own samples; the run's report shows them."""
BINS = 4
"""Of score differences, of equally many votes each."""


def wins_of(lines: Iterable[Line]) -> dict[str, dict[str, float]]:
    """Votes between models whose names are known: `first>second` → rate (a tie counts one half), 95%, n."""
    counts: dict[tuple[str, str], Counter[int]] = {}
    for line in lines:
        sources = line.get("sources")
        if line.get("scores") or not sources:
            continue
        for item, value in items_of(line):
            _, *pair = item.split(":")
            if line.get("task") == "best" and value == TIE:
                continue  # of those that are not the best nobody said which is better
            if len(pair) == 2 and len(sources) == len(line["responses"]):
                names = sources[int(pair[0])], sources[int(pair[1])]
                if names[0] > names[1]:
                    names, value = (names[1], names[0]), 2 * TIE - value
                counts.setdefault(names, Counter())[value] += 1
    found = {}
    for (first, second), votes in sorted(counts.items()):
        n = votes.total()
        won = votes[FIRST] + votes[TIE] / 2
        low, high = wilson(won, n)
        outcome = {"wins": votes[FIRST], "ties": votes[TIE], "losses": n - votes[FIRST] - votes[TIE]}
        found[f"{first}>{second}"] = {"rate": won / n, "low": low, "high": high, "n": n, **outcome}
    return found


def differing(lines: Iterable[Line]) -> tuple[int, int]:
    """Questions that several annotators judged, and those of them about which they do not all say the same."""
    said: dict[str, dict[str, dict[str, int]]] = {}
    for line in lines:
        if items := dict(items_of(line)):
            said.setdefault(line["question"], {})[line["annotator"]] = items
    several = [list(votes.values()) for votes in said.values() if len(votes) > 1]
    return len(several), sum(any(one != votes[0] for one in votes) for votes in several)


def deserved(lines: Iterable[Line]) -> list[tuple[float, float]]:
    """Of each vote of a spot check: the difference of the two scores, and whether the higher one was deserved (1), not
    (0), or the answers were equally good (½)."""
    found = []
    for line in lines:
        ranks, scores = line.get("ranks"), line.get("scores")
        if line["event"] == "vote" and ranks is not None and scores is not None and len(ranks) == len(scores) == 2:
            high = int(scores[1] > scores[0])
            found.append((abs(scores[0] - scores[1]), 0.5 + (ranks[1 - high] - ranks[high]) / 2))
    return found


def deserved_record(lines: Iterable[Line]) -> dict[str, Any] | None:
    """How often the higher score was deserved, ties one half, with 95% intervals; also by the difference of scores, in
    `bins` of equally many votes. `None` without a vote."""
    pairs = sorted(deserved(lines))
    if not pairs:
        return None
    bins = min(BINS, max(1, len(pairs) // 5))
    edges = [round(i * len(pairs) / bins) for i in range(bins + 1)]
    parts = [pairs[start:stop] for start, stop in pairwise(edges)]
    return {
        **_share(pairs),
        "bins": [{"gap": sum(gap for gap, _ in part) / len(part), **_share(part)} for part in parts],
    }


def _share(pairs: list[tuple[float, float]]) -> dict[str, float]:
    right = sum(won for _, won in pairs)
    low, high = wilson(right, len(pairs))
    ties = sum(won == 0.5 for _, won in pairs)
    return {"share": right / len(pairs), "low": low, "high": high, "n": len(pairs), "ties": ties}
