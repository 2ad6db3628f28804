"""A record as an object of the lab's own fields, which reads back as the same record."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from rlhf.data.files.raw import BadRecord
from rlhf.data.formats.parse import parse
from rlhf.data.records import Comparison, Demonstration, Document, Kind, Labelled, Prompt, Ranking, Record, StepLabelled

TRANSCRIPT = re.compile(r"\s*(?:Human|Assistant):")
"""A text that readers would take for a transcript of HH stands in messages instead, which are taken as they are."""
OWN = frozenset(
    {"messages", "prompt", "response", "completion", "chosen", "rejected", "responses", "label", "margin", "text"}
    | {"completions", "labels", "tools", "system", "history", "dataset", "category", "subset", "source", "synthetic"}
)
"""Fields that a record's own may not be called."""


def object_of(record: Record, dataset: str) -> dict[str, Any]:
    """The record as JSON can hold it.

    Args:
        dataset: name of the source, kept beside the record.
    """
    if isinstance(record, Document):
        return {"text": record.text, **_mark(record.synthetic), "dataset": dataset}
    prompt = record if isinstance(record, Prompt) else record.prompt
    found: dict[str, Any] = {}
    if isinstance(record, Demonstration):
        plain = is_plain(prompt) and not record.weights and not record.extras
        if plain and not TRANSCRIPT.match(record.response):
            found = {"prompt": prompt.text, "response": record.response}
        else:
            found = {"messages": weighted(record)}
    else:
        found["prompt"] = prompt.text if is_plain(prompt) else prompt.messages()
    if isinstance(record, Labelled):
        found |= {"completion": answer(record.response), "label": record.desirable}
    elif isinstance(record, StepLabelled):
        found |= {"completions": list(record.steps), "labels": list(record.labels)}
    elif isinstance(record, Comparison):
        found |= {"chosen": answer(record.chosen), "rejected": answer(record.rejected)}
        found |= {"margin": record.margin} if record.margin is not None else {}
    elif isinstance(record, Ranking):
        scores = record.scores or (None,) * len(record.ranks)
        found["responses"] = [
            {"text": text, "rank": rank, **({"score": score} if score is not None else {})}
            for text, rank, score in zip(record.responses, record.ranks, scores, strict=True)
        ]
    found |= {"tools": json.loads(prompt.tools)} if prompt.tools else {}
    found |= dict(prompt.fields)
    found |= dict(record.tags) if isinstance(record, Labelled | StepLabelled | Comparison | Ranking) else {}
    return {**found, **_mark(prompt.synthetic), "dataset": dataset}


def _mark(synthetic: str) -> dict[str, Any]:
    return {"synthetic": json.loads(synthetic)} if synthetic else {}


def record_of(line: bytes, kind: Kind, fields: Collection[str] = ()) -> Record | BadRecord:
    """The record that a line was made of.

    Args:
        fields: names of what travels with prompts.
    """
    return next(iter(parse(json.loads(line), kind, wanted={name: name for name in fields})))


def is_plain(prompt: Prompt) -> bool:
    """Whether a prompt is one question of the user's, which its text alone says."""
    one = len(prompt.turns) == 1 and prompt.turns[0][0] == "user" and not prompt.extras
    return one and not TRANSCRIPT.match(prompt.text)


def answer(text: str) -> Any:
    """An answer as its text or, where that could be misread, as one message."""
    return [{"role": "assistant", "content": text}] if TRANSCRIPT.match(text) else text


def weighted(record: Demonstration) -> list[dict[str, Any]]:
    """The conversation, with the weight 0 at the answers that are not learnt."""
    messages = record.messages()
    spoken = [message for message in messages if message["role"] == "assistant"]
    for message, weight in zip(spoken, record.learnt, strict=True):
        if not weight:
            message["weight"] = 0
    return messages
