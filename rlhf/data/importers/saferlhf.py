"""PKU-SafeRLHF (Dai et al. 2023): two answers with two labels: which is more helpful, and which is safer.

This format ranks by helpfulness (`better_response_id`); `saferlhf_safer` ranks the same files by safety. A
demonstration is the better of the answers that are labelled safe, whatever the label; there is none where both are
unsafe.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.fields import Fields, choice_of, only, text_of, truth_of
from rlhf.data.formats.meaning import LEFT_OUT
from rlhf.data.records import Kind, Record

BETTER, SAFER = "better_response_id", "safer_response_id"
SAFE = ("is_response_0_safe", "is_response_1_safe")
RESPONSES = ("response_0", "response_1")

FIELDS = {
    "prompt": "the question",
    **dict.fromkeys(RESPONSES, "an answer"),
    BETTER: "which one is more helpful, 0 or 1",
    SAFER: "which one is safer, 0 or 1",
    **dict.fromkeys(SAFE, "whether it is safe"),
    **dict.fromkeys(
        [f"{name}_{what}" for name in RESPONSES for what in ("severity_level", "harm_category", "source", "sha256")],
        "left out",
    ),
    "prompt_source": "left out",
}  # fmt: skip
NOTE = (
    "SafeRLHF has two labels: this run ranks by helpfulness (better_response_id); data.format=saferlhf_safer ranks by "
    "safety (safer_response_id)"
)


def matches(fields: Fields) -> bool:
    """Two answers and the number of the better one."""
    return {*RESPONSES, BETTER} <= fields.keys()


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    yield from ranked_by(BETTER, fields, kind)


def ranked_by(label: str, fields: Fields, kind: Kind) -> Iterator[Record]:
    """The comparison by one of the labels, or the demonstration.

    Raises:
        BadRecord: as `standard_records`, or both answers are unsafe.
    """
    found = only(fields, "prompt")
    if kind == "prompts":
        yield from standard_records(found, kind)
        return
    better = choice_of(fields, label, (0, 1))
    texts = [text_of(fields, name) for name in RESPONSES]
    if kind in ("comparisons", "labels"):
        yield from standard_records({**found, "chosen": texts[better], "rejected": texts[1 - better]}, kind)
        return
    safe = [truth_of(fields, name) if name in fields else True for name in SAFE]
    if not any(safe):
        raise BadRecord(LEFT_OUT, "both answers are labelled unsafe: none is imitated")
    yield from standard_records({**found, "response": texts[better if safe[better] else 1 - better]}, kind)
