"""RewardBench (Lambert et al. 2024) and RewardBench 2 (Malik et al. 2025), whose answers are lists.

In version 2 every chosen answer is better than every rejected one, and those of one side are ties. `subset` is kept.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.fields import Fields, clean, decoded, list_of, only
from rlhf.data.records import Kind, Record

FIELDS = {
    "prompt": "the question",
    "chosen": "the better answer; version 2: a list of them",
    "rejected": "the worse answer; version 2: a list of them",
    "subset": "kept: evaluations report by it",
    **dict.fromkeys(("chosen_model", "rejected_model", "models"), "left out"),
    **dict.fromkeys(("num_correct", "num_incorrect", "num_rejected", "total_completions"), "left out"),
    "additional_metadata": "left out",
}


def matches(fields: Fields) -> bool:
    """Two answers with their models and a subset; or two lists of texts."""
    first = {"prompt", "chosen", "rejected", "chosen_model", "rejected_model", "subset"} <= fields.keys()
    return (first and isinstance(fields["chosen"], str)) or (
        "prompt" in fields and all(_texts(fields.get(name)) for name in ("chosen", "rejected"))
    )


def _texts(value: object) -> bool:
    value = decoded(value)
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    found = only(fields, "prompt")
    if kind == "prompts":
        yield from standard_records(found, kind)
        return
    if not _texts(fields["chosen"]):
        yield from standard_records({**found, "chosen": fields["chosen"], "rejected": fields["rejected"]}, kind)
        return
    ranks: dict[str, int] = {}
    for rank, name in enumerate(("chosen", "rejected"), 1):
        for number, text in enumerate(list_of(fields, name)):
            text = clean(text, f"{name}[{number}]")
            if not text:
                raise BadRecord("empty_field", f"{name}[{number}] is empty")
            if ranks.setdefault(text, rank) != rank:
                raise BadRecord("equal_answers", f"{name}[{number}] is one of the chosen answers too")
    responses = [{"text": text, "rank": rank} for text, rank in ranks.items()]
    yield from standard_records({**found, "responses": responses}, kind)
