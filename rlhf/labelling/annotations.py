"""Files in which several people judged the same answers, as votes: our own, exported ones, PandaLM's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlhf.data.files.values import BadRecord, Raw, raw_values
from rlhf.data.formats.fields import Fields, choice_of, clean, only
from rlhf.data.formats.parse import parse
from rlhf.data.importers import pandalm
from rlhf.data.importers.alpaca import question
from rlhf.data.records import Comparison, Labelled, Prompt, Ranking, asked
from rlhf.errors import DataError
from rlhf.labelling.questions import make_question
from rlhf.labelling.vote_log import EVENTS, FILE, Line, read_votes, standing

ANNOTATOR = re.compile(r"annotator_?(\d+)")


def read_annotations(path: Path) -> list[Line]:
    """The votes of a file, or of the folder of a labelling; what was undone is left out.

    Known are `votes.jsonl`; `comparisons.jsonl` and `labels.jsonl`, or any comparisons, rankings and labels with a
    field `annotator`; and PandaLM's test set, whose fields `annotator1`, `annotator2`, … say 0, 1 or 2.

    Raises:
        DataError: the file can't be read, or nobody's name is in it.
    """
    path = path / FILE if path.is_dir() else path
    found: list[Line] = []
    for raw in raw_values(path):
        if raw.error is not None:
            # The last line of a log that a kill cut short.
            if path.name == FILE:
                continue
            raise DataError(f"{raw.place}: {raw.error}")
        if isinstance(raw.value, dict) and raw.value.get("event") in EVENTS:
            return list(standing(read_votes(path)))
        try:
            found += lines_of(raw)
        except BadRecord as error:
            raise DataError(f"{raw.place}: {error}") from error
    if not found:
        raise DataError(f"{path}: no votes in it")
    return found


def lines_of(raw: Raw) -> Iterator[Line]:
    """The votes in one record.

    Raises:
        BadRecord: nobody's name is in it, or it compares nothing.
    """
    fields: Fields = raw.value if isinstance(raw.value, dict) else {}
    names = [name for name in fields if ANNOTATOR.fullmatch(name)]
    if {"instruction", "response1", "response2"} <= fields.keys() and len(names) > 1:
        texts = [clean(fields[name], name) for name in ("response1", "response2")]
        prompt = Prompt.of(question({**only(fields, "instruction", "input")}))
        for name in names:
            said = list(pandalm.RANKS[choice_of(fields, name, (0, 1, 2))])
            yield _line(name, "", prompt, texts, ranks=said, id=f"{raw.place.rsplit(':', 1)[-1]}")
        return
    annotator = fields.get("annotator")
    if not isinstance(annotator, str) or not annotator:
        raise BadRecord("missing_field", "no field annotator, which says who judged; nor annotator1, annotator2, …")
    time = str(fields.get("time", ""))
    for record in parse(fields, "labels"):
        if isinstance(record, BadRecord):
            raise record
        if isinstance(record, Labelled):
            yield _line(annotator, time, record.prompt, [record.response], desirable=record.desirable)
        elif isinstance(record, Comparison | Ranking):
            texts = [record.chosen, record.rejected] if isinstance(record, Comparison) else list(record.responses)
            ranks = [1, 2] if isinstance(record, Comparison) else list(record.ranks)
            yield _line(annotator, time, record.prompt, texts, ranks=ranks)


def _line(annotator: str, time: str, prompt: Prompt, texts: list[str], id: str = "", **said: Any) -> Line:
    """A vote; its answers are in the order of the question, whatever order they had here, unless it has an `id`."""
    if not id:
        asked_of = make_question("", prompt, texts)
        places = [texts.index(text) for text in asked_of.responses]
        id, texts = asked_of.id, list(asked_of.responses)
        if "ranks" in said:
            said["ranks"] = [said["ranks"][place] for place in places]
    line: dict[str, Any] = {"event": "vote", "annotator": annotator, "turn": -1, "time": time, "question": id}
    line |= {"task": "pairs", **asked(prompt), "responses": texts, "shown": list(range(len(texts)))}
    return line | said  # type: ignore[return-value]


def prompt_in(line: Line) -> Prompt:
    """The prompt of a vote.

    Raises:
        DataError: it is none.
    """
    content: Mapping[str, Any] = line
    fields = {name: content[name] for name in ("prompt", "tools") if name in content}
    for found in parse(fields, "prompts"):
        if isinstance(found, Prompt):
            return found
        raise DataError(f"question {line['question']}: its prompt can't be read: {found}")
    raise DataError(f"question {line['question']}: it has no prompt")
