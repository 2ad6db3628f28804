"""UltraFeedback (Cui et al. 2023): an instruction with scored `completions`; its binarised form (Tunstall et al. 2023).

Answers are ranked by the mean of their four ratings. The published `overall_score` is taken only where there are none:
for 2,628 answers it says 10 where GPT-4 had said 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.conversations import CONTEXT
from rlhf.data.formats.fields import Fields, clean, list_of, number_of, text_of, type_name
from rlhf.data.formats.meaning import WITHOUT_COMPARISON
from rlhf.data.records import Kind, Record

FIELDS = {
    "instruction": "the question",
    "completions": "answers with the ratings of each; the system prompt of one says how it was drawn, and is left out",
    **dict.fromkeys(("models", "correct_answers", "incorrect_answers"), "left out"),
    "prompt": "binarised: the question",
    "chosen": "binarised: the better conversation",
    "rejected": "binarised: the worse one",
    "messages": "binarised: chosen once more",
    **dict.fromkeys(("score_chosen", "score_rejected"), "binarised: their difference is the margin"),
    "prompt_id": "binarised: left out",
    **CONTEXT,
}
OVER = ("alpaca", "messages", "hh")


def matches(fields: Fields) -> bool:
    """An instruction with completions, or two conversations with the scores of both."""
    scored = {"chosen", "rejected", "score_chosen", "score_rejected"} <= fields.keys()
    return {"instruction", "completions"} <= fields.keys() or scored


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    if "completions" not in fields:
        kept = {name: value for name, value in fields.items() if name != "messages"}
        better, worse = (number_of(fields.get(name)) for name in ("score_chosen", "score_rejected"))
        if better is not None and worse is not None and better >= worse:
            kept["margin"] = better - worse
        yield from standard_records(kept, kind)
        return
    tags = {"source": fields["source"]} if isinstance(fields.get("source"), str) else {}
    asked = {**tags, "prompt": text_of(fields, "instruction")}
    if kind == "prompts":
        yield from standard_records(asked, kind)
        return
    scores: dict[str, float] = {}
    for number, completion in enumerate(list_of(fields, "completions")):
        if not isinstance(completion, dict):
            raise BadRecord("wrong_type", f"completions[{number}] must be an object, found {type_name(completion)}")
        text = clean(completion.get("response"), f"completions[{number}].response")
        score = _score(completion)
        if text and score is not None:  # a model that said nothing, or an answer without a rating
            scores.setdefault(text, score)
    if len(scores) < 2:
        raise BadRecord(WITHOUT_COMPARISON, "fewer than two of the completions have a text and a rating")
    order = sorted({*scores.values()}, reverse=True)
    responses = [{"text": text, "rank": 1 + order.index(score), "score": score} for text, score in scores.items()]
    yield from standard_records({**asked, "responses": responses}, kind)


def _score(completion: dict[str, Any]) -> float | None:
    """The mean of its ratings, which stand in `annotations`; without them, what the file says of all of them."""
    annotations = completion.get("annotations")
    found = [
        number
        for aspect in (annotations.values() if isinstance(annotations, dict) else ())
        for rated in (aspect if isinstance(aspect, list) else [aspect])
        if isinstance(rated, dict) and (number := number_of(rated.get("Rating"))) is not None
    ]
    if found:
        return sum(found) / len(found)
    fine = number_of(completion.get("fine-grained_score"))
    return fine if fine is not None else number_of(completion.get("overall_score"))
