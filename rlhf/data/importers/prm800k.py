"""PRM800K (Lightman et al. 2023): at each step of a solution, completions that people rated −1, 0 or 1.

The completions that were chosen make the solution. Each of the others makes one of its own: the steps in front of it,
whose labels count once and not again, and itself. A neutral 0 counts as right, which Lightman et al. 2023 found best
(appendix F); data.format=prm800k_strict counts it as wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.fields import Fields, only, text_of
from rlhf.data.formats.meaning import LEFT_OUT
from rlhf.data.importers.stepwise import in_steps
from rlhf.data.records import Kind, Record

FIELDS = {
    "question": "an object whose `problem` is the question; the rest is left out",
    "label": "an object whose `steps` hold rated completions, and how the labelling ended",
    **dict.fromkeys(("labeler", "timestamp", "generation"), "left out"),
    **dict.fromkeys(("is_quality_control_question", "is_initial_screening_question"), "left out"),
}
OVER = ("*",)
KINDS = ("steps", "prompts")


def matches(fields: Fields) -> bool:
    """A problem, and steps with completions."""
    question, label = fields.get("question"), fields.get("label")
    return isinstance(question, dict) and "problem" in question and isinstance(label, dict) and "steps" in label


def parse(fields: Fields, kind: Kind, neutral: float = 1.0) -> Iterator[Record]:
    """Raises: BadRecord."""
    question, label = fields["question"], fields["label"]
    asked = {**only(fields), "prompt": text_of(question, "problem", "question.problem")}
    if kind == "prompts":
        yield from standard_records(asked, kind)
        return
    if label.get("finish_reason") == "bad_problem":
        raise BadRecord(LEFT_OUT, "label.finish_reason says that the problem is a bad one")
    steps: list[str] = []
    labels: list[float | None] = []
    others: list[tuple[list[str], float]] = []
    for number, step in enumerate(_list(label, "steps", "label.steps")):
        shown = f"label.steps[{number}]"
        if not isinstance(step, dict):
            raise BadRecord("wrong_type", f"{shown} must be an object with completions")
        rated = [
            (_text(one, f"{shown}.completions[{i}]"), _rating(one.get("rating"), neutral, f"{shown}.completions[{i}]"))
            for i, one in enumerate(_list(step, "completions", f"{shown}.completions", missing=()))
        ]
        taken = _taken(step, rated, neutral, shown)
        if taken is None:
            break
        others += [([*steps, text], said) for text, said in rated if said is not None and text != taken[0]]
        steps.append(taken[0])
        labels.append(taken[1])
    found = [(steps, labels)] if any(said is not None for said in labels) else []
    found += [(texts, [*(None for _ in texts[:-1]), said]) for texts, said in others]
    if not found:
        raise BadRecord(LEFT_OUT, "label.steps holds no rated completion")
    for texts, said_of in found:
        yield in_steps(asked, texts, said_of)


def _taken(
    step: dict[str, Any], rated: list[tuple[str, float | None]], neutral: float, shown: str
) -> tuple[str, float | None] | None:
    """How the solution continues: what was chosen or written by hand; at its end, the first completion."""
    chosen, written = step.get("chosen_completion"), step.get("human_completion")
    if chosen is None and isinstance(written, dict):
        where = f"{shown}.human_completion"
        rating = written.get("corrected_rating") if written.get("rating") is None else written["rating"]
        return _text(written, where), _rating(rating, neutral, where)
    if chosen is None:
        return rated[0] if rated else None
    if isinstance(chosen, bool) or not isinstance(chosen, int) or not 0 <= chosen < len(rated):
        raise BadRecord(
            "wrong_type", f"{shown}.chosen_completion must be the number of a completion, found {chosen!r}"[:200]
        )
    return rated[chosen]


def _text(completion: Any, shown: str) -> str:
    if not isinstance(completion, dict):
        raise BadRecord("wrong_type", f"{shown} must be an object with text and rating")
    return text_of(completion, "text", f"{shown}.text")


def _rating(rating: Any, neutral: float, shown: str) -> float | None:
    if rating is None:
        return None
    known = {-1: 0.0, 0: neutral, 1: 1.0}
    if isinstance(rating, bool) or not isinstance(rating, int | float) or rating not in known:
        raise BadRecord("wrong_type", f"{shown}.rating must be -1, 0 or 1, found {rating!r}"[:200])
    return known[int(rating)]


def _list(fields: dict[str, Any], name: str, shown: str, missing: Any = None) -> list[Any]:
    value = fields.get(name)
    value = missing if value is None else value
    if not isinstance(value, list | tuple):
        raise BadRecord("wrong_type", f"{shown} must be a list")
    return list(value)
