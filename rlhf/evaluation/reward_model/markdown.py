"""The part of `report.md` on a reward model: accuracy by slice, calibration, length, and its ensemble's agreement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rlhf.evaluation.reward_model.bench import sections
from rlhf.evaluation.reward_model.pairs import SIMILAR, Accuracy
from rlhf.evaluation.reward_model.preferences import Agreement

Table = Callable[[Sequence[str], Iterable[Sequence[str]]], str]
HEADER = ("", "accuracy", "95%", "prompts", "pairs")


def reward_sections(found: Agreement, table: Table) -> Iterator[str]:
    """Paragraphs and tables; `table` writes a header and its rows."""
    for dimension, slices in found.slices.items():
        yield f"### By {dimension}"
        yield table(HEADER, accuracy_rows(slices))
        if dimension == "length":
            yield (
                f"By words; similar: the shorter answer lacks at most {SIMILAR:.0%} of the longer one's. A model that "
                "likes length fails where the worse answer is the longer one."
            )
    if (bias := found.length_bias) is not None and bias["n"]:
        correlation = "–" if bias["correlation"] is None else f"{bias['correlation']:.2f}"
        yield (
            f"Length: the reward model scores the longer answer higher in {bias['prefers_longer']:.1%} of pairs, "
            f"labels prefer it in {bias['labels_prefer_longer']:.1%}; differences of score and of length correlate at "
            f"{correlation} ({bias['n']} pairs whose answers differ in words)."
        )
    if found.calibration is not None:
        yield "### Calibration"
        rows = [
            (
                f"{b['low']:.0%} to {b['high']:.0%}",
                f"{b['said']:.1%}",
                f"{b['happened']:.1%}",
                f"{b['weight']:.1f}",
            )
            for b in found.calibration["bins"]
            if b["low"] >= 0.5
        ]
        yield table(("says", "on average", "is right", "prompts"), rows)
        yield (
            f"Expected calibration error {found.calibration['error']:.3f}. What the model says is σ(score difference) "
            "of the answer that it prefers; each pair counts both ways round, so the lower half mirrors this one."
        )
    if found.members:
        yield "### Members of the ensemble"
        yield table(HEADER, accuracy_rows(found.members))
    if (together := found.agreement) is not None:
        split = together["accuracy_if_split"]
        parts = [
            f"Two members see the same winner in {together['pairwise']:.1%} of pairs, all of them in "
            f"{together['unanimous']:.1%}",
            f"where they do, their mean is right in {together['accuracy_if_unanimous']:.1%}"
            if together["accuracy_if_unanimous"] is not None
            else "",
            f"where they don't, in {split:.1%}" if split is not None else "",
            f"score differences spread by {together['spread']:.2f} over members",
        ]
        yield "; ".join(part for part in parts if part) + "."


def accuracy_rows(slices: Mapping[str, Accuracy]) -> list[list[str]]:
    """A row each."""
    return [
        [name.replace("_is_", " is "), f"{a.accuracy:.1%}", f"{a.low:.1%} to {a.high:.1%}", str(a.n), str(a.pairs)]
        for name, a in slices.items()
    ]


def bench_sections(found: Agreement, table: Table) -> Iterator[str]:
    """RewardBench's sections, where its subsets are there, then every slice."""
    yield (
        f"{found.accuracy:.1%} of {found.n} pairs (95%: {found.low:.1%} to {found.high:.1%}); a tie of scores counts "
        "one half."
    )
    if by_section := sections(found.slices.get("subset", {})):
        yield table(("section", "accuracy"), [[name, f"{value:.1%}"] for name, value in by_section.items()])
    yield from reward_sections(found, table)
