"""Label Studio's own JSON export: tasks, each with its data and with what every annotator said of it.

Two types of its results compare answers: `pairwise` says which of two texts is better, `ranker` puts the items of a
list in order. In projects that label.py made, a choice named `tie` says that neither of two is better. The export
leaves out the labelling configuration, so names and content tell which fields hold the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.fields import Fields
from rlhf.data.formats.meaning import CANCELLED, UNDECIDED, UNTOUCHED
from rlhf.data.records import TAGS, Kind, Record

TIE = "tie"
"""Name of the choice, and of what is chosen."""
PROMPTS = ("messages", "prompt")
"""Fields of a task's data that hold the prompt, the first that is there: a list of messages, or text."""
PAIRS = (("text1", "text2"), ("answer1", "answer2"))
"""Names of two answers, left and right, where `toName` names no fields; those of Label Studio's own templates."""


FIELDS = {
    "data": "what was shown: the prompt and the answers",
    "annotations": "what each annotator said of it",
    "id": "the task's number",
    **dict.fromkeys(
        ("drafts", "predictions", "meta", "project", "file_upload", "inner_id", "total_annotations", "updated_by",
         "cancelled_annotations", "total_predictions", "comment_count", "unresolved_comment_count",
         "last_comment_updated_at", "comment_authors", "created_at", "updated_at"),
        "left out",
    ),
}  # fmt: skip
SHORT = {"annotation_id", "annotator"}


def matches(fields: Fields) -> bool:
    """A task with its data and annotations, or one of the short export, which is refused."""
    task = isinstance(fields.get("data"), dict) and isinstance(fields.get("annotations"), list)
    return task or fields.keys() >= SHORT


def parse(fields: Fields, kind: Kind) -> Iterator[Record | BadRecord]:
    """A comparison for each result of each annotation; places get the numbers of task and annotation, since exports
    stand on a single line.

    Raises: BadRecord.
    """
    if "annotations" not in fields:
        raise BadRecord("wrong_format", "a task of Label Studio's JSON-MIN, which is not read; export as JSON")
    where = f"task {fields['id']}" if "id" in fields else ""
    if not fields["annotations"]:
        raise BadRecord(UNTOUCHED, "it has no annotation", where)
    for number, annotation in enumerate(fields["annotations"], 1):
        name = annotation.get("id", number) if isinstance(annotation, dict) else number
        here = f"{where}, annotation {name}".removeprefix(", ")
        try:
            found = _verdicts(annotation)
        except BadRecord as error:
            yield BadRecord(error.reason, str(error), here)
            continue
        for result in found:
            try:
                yield from standard_records(_record(fields["data"], result), kind)
            except BadRecord as error:
                yield BadRecord(error.reason, str(error), here)


def _verdicts(annotation: Any) -> list[dict[str, Any]]:
    """The results that compare; other ones, such as a comment or a rating, may stand beside them.

    Raises:
        BadRecord: there are none.
    """
    if not isinstance(annotation, dict):
        raise BadRecord("wrong_type", "must be an object with result")
    if annotation.get("was_cancelled"):
        raise BadRecord(CANCELLED, "the annotator skipped it")
    results = annotation.get("result")
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise BadRecord("wrong_type", "result must be a list of objects")
    found = [result for result in results if str(result.get("type")) in _READERS]
    if any(is_tie(result) for result in results):
        if any(_selected(result) for result in found):
            raise BadRecord(UNDECIDED, "the annotator chose one and said that neither is better")
        return [result for result in results if is_tie(result)]
    if not found and results:
        types = ", ".join(dict.fromkeys(str(result.get("type")) for result in results))
        raise BadRecord("wrong_format", f"needs a result of type {' or '.join(_READERS)}; the types are {types}")
    if not found:
        raise BadRecord(UNDECIDED, "the annotator chose nothing")
    return found


def _record(data: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """A comparison in the lab's own fields."""
    prompt = next((data[name] for name in PROMPTS if data.get(name)), None)
    if prompt is None:
        raise BadRecord("missing_field", f"its data need prompt, or messages; {_fields(data)}")
    value = result.get("value")
    if not isinstance(value, dict):
        raise BadRecord("wrong_type", f"value of the {result['type']} result must be an object")
    tags = {name: data[name] for name in TAGS if name in data}
    reader = _tie if is_tie(result) else _READERS[result["type"]]
    return {**tags, "prompt": prompt, **reader(data, result, value)}


def is_tie(result: dict[str, Any]) -> bool:
    """Whether a result says that neither of two answers is better."""
    value = result.get("value")
    named = result.get("type") == "choices" and result.get("from_name") == TIE
    return named and isinstance(value, dict) and value.get("choices") == [TIE]


def _selected(result: dict[str, Any]) -> bool:
    value = result.get("value")
    return isinstance(value, dict) and value.get("selected") not in (None, "none")


def _tie(data: dict[str, Any], result: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    return {"responses": [{"text": data[name], "rank": 1} for name in _pair(data, ())]}


def _pairwise(data: dict[str, Any], result: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    selected = value.get("selected")
    if selected in (None, "none"):
        raise BadRecord(UNDECIDED, "the annotator chose neither")
    if selected not in ("left", "right"):
        raise BadRecord("wrong_type", f"selected must be left or right, found {selected!r}")
    left, right = _pair(data, _names(result))
    better, worse = (left, right) if selected == "left" else (right, left)
    return {"chosen": data[better], "rejected": data[worse]}


def _names(result: dict[str, Any]) -> tuple[str, ...]:
    """What `toName` of the labelling configuration names: text with commas, or a list."""
    named = result.get("to_name")
    names = named.split(",") if isinstance(named, str) else named if isinstance(named, list) else []
    return tuple(str(name).strip() for name in names)


def _pair(data: dict[str, Any], named: tuple[str, ...]) -> tuple[str, str]:
    for pair in (named, *PAIRS):
        if len(pair) == 2 and all(name in data for name in pair):
            return pair[0], pair[1]
    wanted = " or ".join(" and ".join(pair) for pair in dict.fromkeys((named, *PAIRS)) if len(pair) == 2)
    raise BadRecord("missing_field", f"its data need the two answers as {wanted}; {_fields(data)}")


def _ranker(data: dict[str, Any], result: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    ranked = value.get("ranker")
    # The list that is left over when there are buckets is called "_".
    if isinstance(ranked, dict) and (len(ranked) > 1 or "_" in ranked):
        raise BadRecord("wrong_format", f"sorted into buckets ({', '.join(ranked)}), which is no order; rank without")
    order = next(iter(ranked.values()), None) if isinstance(ranked, dict) else ranked
    if not isinstance(order, list):
        raise BadRecord("wrong_type", "ranker must be a list of ids, best first, under the name of the tag")
    if not order:
        raise BadRecord(UNDECIDED, "the annotator ranked nothing")
    ids = [str(name) for name in order]
    texts = _texts(data, ids, _names(result))
    return {"responses": [{"text": texts[name], "rank": rank} for rank, name in enumerate(ids, 1)]}


def _texts(data: dict[str, Any], ids: list[str], named: tuple[str, ...]) -> dict[str, str]:
    """Texts by id, of the one list in the data that has all of these ids."""
    lists = {name: _items(name, value) for name, value in data.items() if _is_list(value)}
    holding = {name: items for name, items in lists.items() if set(ids) <= items.keys()}
    chosen = next((name for name in named if name in holding), None)
    if chosen is None and len(holding) == 1:
        chosen = next(iter(holding))
    if chosen is None:
        found = f"{' and '.join(holding)} have" if holding else "no list in its data has"
        raise BadRecord("missing_field", f"{found} items of the ids {', '.join(ids)}; {_fields(data)}")
    return holding[chosen]


def _is_list(value: Any) -> bool:
    """Whether it may be what Label Studio's List shows: objects with an `id`, and the text as `body`."""
    return isinstance(value, list) and all(isinstance(item, dict) and {"id", "body"} <= item.keys() for item in value)


def _items(name: str, value: list[dict[str, Any]]) -> dict[str, str]:
    items = {str(item["id"]): item["body"] for item in value}
    if len(items) < len(value):
        raise BadRecord("wrong_type", f"two items of {name} have the same id")
    return items


def _fields(data: dict[str, Any]) -> str:
    return f"the fields are {', '.join(data) or 'none'}"


_READERS: dict[str, Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "pairwise": _pairwise,
    "ranker": _ranker,
}
