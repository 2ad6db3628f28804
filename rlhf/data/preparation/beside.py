"""What stands beside the texts of a record: tool calls, tools, fields that travel with prompts, tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rlhf.data.formats.fields import canonical
from rlhf.data.records import Comparison, Demonstration, Document, Labelled, Prompt, Ranking, Record, StepLabelled


def with_beside(record: Record, change: Callable[[str], str]) -> Record:
    """The same record with every text beside its own ones changed, within lists and objects too; names of fields stay.

    Who wrote a synthetic record is left as it is.
    """
    if isinstance(record, Document):
        return record
    prompt = record if isinstance(record, Prompt) else record.prompt
    if prompt.tools or prompt.extras or prompt.fields:
        prompt = replace(
            prompt,
            tools=_in_json(prompt.tools, change),
            extras=tuple((index, _in_json(text, change)) for index, text in prompt.extras),
            fields=_within(dict(prompt.fields), change),
        )
    if isinstance(record, Prompt):
        return prompt
    if isinstance(record, Demonstration):
        if prompt is record.prompt and not record.extras:
            return record
        return replace(record, prompt=prompt, extras=_in_json(record.extras, change))
    assert isinstance(record, Labelled | StepLabelled | Comparison | Ranking)
    if prompt is record.prompt and not record.tags:
        return record
    return replace(record, prompt=prompt, tags=tuple((name, change(text)) for name, text in record.tags))


def _in_json(text: str, change: Callable[[str], str]) -> str:
    return canonical(_within(json.loads(text), change)) if text else text


def _within(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_within(part, change) for part in value]
    if isinstance(value, dict):
        return {name: _within(part, change) for name, part in value.items()}
    return value
