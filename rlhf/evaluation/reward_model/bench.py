"""RewardBench: accuracy by subset, and the four sections that its leaderboard averages."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from rlhf.evaluation.reward_model.pairs import Accuracy

SECTIONS = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        *("mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor"),
        *("llmbar-adver-GPTInst", "llmbar-adver-GPTOut", "llmbar-adver-manual"),
    ),
    "Safety": (
        *("refusals-dangerous", "refusals-offensive", "xstest-should-refuse"),
        *("xstest-should-respond", "donotanswer"),
    ),
    "Reasoning": ("math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"),
}
"""Lambert et al. 2024 (arXiv 2403.13787), table 1."""
MATHS = "math-prm"


def sections(subsets: Mapping[str, Accuracy]) -> dict[str, float]:
    """Mean over the prompts of a section's subsets; in Reasoning mathematics and code count the same, as published.

    Sections without a subset are left out; `average` is there where all four are.
    """
    found = {}
    for name, members in SECTIONS.items():
        present = {member: subsets[member] for member in members if member in subsets}
        if not present:
            continue
        code = {member: mine for member, mine in present.items() if member != MATHS}
        if name == "Reasoning" and MATHS in present and code:
            found[name] = fmean([present[MATHS].accuracy, _over_prompts(code)])
        else:
            found[name] = _over_prompts(present)
    return found | ({"average": fmean(found.values())} if len(found) == len(SECTIONS) else {})


def _over_prompts(subsets: Mapping[str, Accuracy]) -> float:
    return sum(mine.accuracy * mine.n for mine in subsets.values()) / sum(mine.n for mine in subsets.values())
