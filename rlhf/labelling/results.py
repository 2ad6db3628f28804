"""What votes say of what was judged: how often one model wins, and whether a run's scores are deserved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rlhf.evaluation.intervals import clustered_wilson
from rlhf.labelling.tally import FIRST, TIE, items_of
from rlhf.labelling.vote_log import Line

SPOT_CHECK = "spot_check"
"""Folder of a run with the votes about its own samples; the run's report shows them."""
BINS = 4
"""Of score differences, of equally many votes each."""


def wins_of(lines: Iterable[Line]) -> dict[str, dict[str, float]]:
    """Votes between models whose names are known: `first>second` → rate (a tie counts one half), 95%, n. The interval
    takes votes on one question for alike, as far as they are."""
    counts: dict[tuple[str, str], dict[str, Counter[int]]] = {}
    for line in lines:
        sources = line.get("sources")
        if line.get("scores") or not sources:
            continue
        for item, value in items_of(line):
            question, *pair = item.split(":")
            if line.get("task") == "best" and value == TIE:
                continue  # of those that are not the best nobody said which is better
            if len(pair) == 2 and len(sources) == len(line["responses"]):
                names = sources[int(pair[0])], sources[int(pair[1])]
                if names[0] > names[1]:
                    names, value = (names[1], names[0]), 2 * TIE - value
                counts.setdefault(names, {}).setdefault(question, Counter())[value] += 1
    found = {}
    for (first, second), questions in sorted(counts.items()):
        votes = sum(questions.values(), Counter[int]())
        n = votes.total()
        low, high = clustered_wilson([(said[FIRST] + said[TIE] / 2, said.total()) for said in questions.values()])
        outcome = {"wins": votes[FIRST], "ties": votes[TIE], "losses": n - votes[FIRST] - votes[TIE]}
        rate = (votes[FIRST] + votes[TIE] / 2) / n
        found[f"{first}>{second}"] = {"rate": rate, "low": low, "high": high, "n": n, **outcome}
    return found


def differing(lines: Iterable[Line]) -> tuple[int, int]:
    """Questions that several annotators judged, and those of them about which they do not all say the same."""
    said: dict[str, dict[str, dict[str, int]]] = {}
    for line in lines:
        if items := dict(items_of(line)):
            said.setdefault(line["question"], {})[line["annotator"]] = items
    several = [list(votes.values()) for votes in said.values() if len(votes) > 1]
    return len(several), sum(any(one != votes[0] for one in votes) for votes in several)


@dataclass(frozen=True, order=True)
class Verdict:
    """A vote of a spot check: the difference of the two scores, and whether the higher one was deserved (1), not (0),
    or the answers were equally good (½)."""

    gap: float
    won: float
    question: str


def deserved(lines: Iterable[Line]) -> list[Verdict]:
    """What the votes of a spot check say."""
    found = []
    for line in lines:
        ranks, scores = line.get("ranks"), line.get("scores")
        if line["event"] == "vote" and ranks is not None and scores is not None and len(ranks) == len(scores) == 2:
            high = int(scores[1] > scores[0])
            won = 0.5 + (ranks[1 - high] - ranks[high]) / 2
            found.append(Verdict(abs(scores[0] - scores[1]), won, line["question"]))
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
        "bins": [{"gap": sum(one.gap for one in part) / len(part), **_share(part)} for part in parts],
    }


def _share(verdicts: list[Verdict]) -> dict[str, float]:
    """The interval takes votes of several people on one pair of samples for alike, as far as they are."""
    by_question: dict[str, list[float]] = {}
    for one in verdicts:
        by_question.setdefault(one.question, []).append(one.won)
    low, high = clustered_wilson([(sum(won), len(won)) for won in by_question.values()])
    n, ties = len(verdicts), sum(one.won == 0.5 for one in verdicts)
    return {"share": sum(one.won for one in verdicts) / n, "low": low, "high": high, "n": n, "ties": ties}
