"""Stepwise supervision as TRL has it: `prompt`, `completions` (the steps of one answer) and as many `labels`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.conversations import CONTEXT
from rlhf.data.formats.fields import Fields, list_of, number_of, only, tags_of, text_of
from rlhf.data.records import Kind, Prompt, Record, StepLabelled

FIELDS = {
    "prompt": "the question",
    "completions": "the steps of the answer, a list of texts",
    "labels": "of each step whether it is right: true or false, a probability from 0 to 1, or null where nobody says",
    **CONTEXT,
}
OVER = ("messages",)
KINDS = ("steps", "prompts")


def matches(fields: Fields) -> bool:
    """A prompt with steps and their labels."""
    return {"prompt", "completions", "labels"} <= fields.keys()


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    asked = only(fields, "prompt", *CONTEXT)
    if kind == "prompts":
        yield from standard_records(asked, kind)
        return
    yield in_steps(asked, list_of(fields, "completions"), list_of(fields, "labels"))


def in_steps(asked: Fields, steps: list[Any], labels: list[Any]) -> StepLabelled:
    """The record of an answer's steps, which importers of other formats make with the same checks.

    Args:
        asked: the prompt in the lab's own fields, and tags.

    Raises:
        BadRecord: a step is no text or blank, a label is none, their numbers differ, or no step has a label.
    """
    (prompt,) = standard_records(asked, "prompts")
    assert isinstance(prompt, Prompt)
    if len(steps) != len(labels):
        raise BadRecord("wrong_type", f"completions has {len(steps)} steps, but labels has {len(labels)}")
    texts = [text_of({"step": step}, "step", f"completions[{number}]") for number, step in enumerate(steps)]
    said = [_label(label, number) for number, label in enumerate(labels)]
    if all(label is None for label in said):
        raise BadRecord("missing_field", "labels holds no label of any step")
    return StepLabelled(prompt, tuple(texts), tuple(said), tags_of(asked))


def _label(label: Any, number: int) -> float | None:
    if label is None or isinstance(label, bool):
        return None if label is None else float(label)
    found = {"true": 1.0, "false": 0.0}.get(str(label).strip().lower(), number_of(label))
    if found is None or not 0 <= found <= 1:
        raise BadRecord(
            "wrong_type", f"labels[{number}] must be true, false, or a number from 0 to 1, found {label!r}"[:200]
        )
    return found
