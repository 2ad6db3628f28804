"""Orca: `system` or `system_prompt` and `question`, with `response` or `chosen` and `rejected` (Intel, distilabel).

In distilabel's cleaned pairs, `status` says which were swapped already and which are ties, so ties are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.conversations import CONTEXT
from rlhf.data.formats.fields import Fields
from rlhf.data.formats.meaning import LEFT_OUT
from rlhf.data.records import Kind, Record

FIELDS = {
    "question": "the question",
    "input": "distilabel's name of question",
    "response": "the answer",
    "chosen": "the better answer",
    "rejected": "the worse answer",
    "status": "distilabel: a tie is no comparison",
    **dict.fromkeys(
        ("generations", "order", "labelling_model", "labelling_prompt", "raw_labelling_response", "rating", "rationale",
         "original_chosen", "original_rejected", "chosen_score", "in_gsm8k_train", "generation_model"),
        "distilabel: how the answers were compared; left out",
    ),
    **CONTEXT,
}  # fmt: skip
OVER = ("hh", "messages")


def matches(fields: Fields) -> bool:
    """A question under one of its names, with an answer or two."""
    pair = {"chosen", "rejected"} <= fields.keys()
    return ("question" in fields and (pair or "response" in fields)) or (
        isinstance(fields.get("input"), str) and pair and "instruction" not in fields
    )


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    if kind in ("comparisons", "labels") and fields.get("status") == "tie":
        raise BadRecord(LEFT_OUT, "status says that the two answers are a tie")
    rest = {name: value for name, value in fields.items() if name not in ("question", "input")}
    yield from standard_records({**rest, "prompt": fields.get("question", fields.get("input"))}, kind)
