"""HHH alignment as Prometheus-Eval packs it (Kim et al. 2024): judge prompts with a question and an answer each."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.fields import Fields, only, text_of
from rlhf.data.records import Kind, Record

QUESTION, ANSWER, RUBRIC = "###The instruction to evaluate:", "###Response to evaluate:", "###Score Rubrics:"
END = ("###Reference Answer", RUBRIC)

FIELDS = {
    "chosen_instruction": "a judge prompt with the better answer",
    "rejected_instruction": "the same with the worse answer",
}


def matches(fields: Fields) -> bool:
    """Two judge prompts."""
    return {*FIELDS} <= fields.keys()


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    asked, chosen = _parts(fields, "chosen_instruction")
    also_asked, rejected = _parts(fields, "rejected_instruction")
    if asked != also_asked:
        raise BadRecord("wrong_format", "the two judge prompts ask different questions")
    yield from standard_records({**only(fields), "prompt": asked, "chosen": chosen, "rejected": rejected}, kind)


def _parts(fields: Fields, name: str) -> tuple[str, str]:
    text = text_of(fields, name)
    _, found, rest = text.partition(QUESTION)
    question, answered, rest = rest.partition(ANSWER)
    if not (found and answered):
        raise BadRecord("wrong_format", f"{name} must have the parts {QUESTION!r} and {ANSWER!r}")
    ends = [place for end in END if (place := rest.find(end)) >= 0]
    if not ends:
        raise BadRecord("wrong_format", f"{name} must have the part {RUBRIC!r}")
    return question.strip(), rest[: min(ends)].strip()
