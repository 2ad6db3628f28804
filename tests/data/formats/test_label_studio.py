"""Exports of Label Studio, as its documentation lays them out: what is read, and every way they can be wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlhf.data.formats.meaning import CANCELLED, UNDECIDED, UNTOUCHED
from rlhf.data.readers import read
from rlhf.data.records import Comparison, Demonstration, Document, Prompt, Ranking
from rlhf.errors import DataError

PAIR = """[{"id": 17, "annotations": [
  {"id": 101, "completed_by": 1, "was_cancelled": false, "ground_truth": false, "lead_time": 4.3, "task": 17,
   "result": [{"id": "a1", "from_name": "pw", "to_name": "text1,text2", "type": "pairwise", "origin": "manual",
               "value": {"selected": "left"}}]},
  {"id": 102, "completed_by": 2, "was_cancelled": false, "result": [
    {"from_name": "pw", "to_name": "text1,text2", "type": "pairwise", "value": {"selected": "right"}},
    {"from_name": "why", "to_name": "text1", "type": "textarea", "value": {"text": ["shorter"]}}]},
  {"id": 103, "completed_by": 3, "was_cancelled": true, "result": [
    {"from_name": "pw", "to_name": "text1,text2", "type": "pairwise", "value": {"selected": "left"}}]}],
  "file_upload": "1-tasks.json", "drafts": [], "predictions": [], "meta": {}, "project": 1, "inner_id": 1,
  "data": {"prompt": "Capital of France?", "text1": "Paris.", "text2": "It is Paris, I think."}}]"""
RANK = """[{"id": 3, "annotations": [
  {"id": 9, "was_cancelled": false, "result": [
    {"from_name": "rank", "to_name": "answers", "type": "ranker", "value": {"ranker": {"rank": ["2", "0", "1"]}}}]}],
  "data": {"prompt": "Why?", "category": "maths", "items": [
    {"id": "0", "title": "Answer 1", "body": "a"}, {"id": "1", "title": "Answer 2", "body": "b"},
    {"id": "2", "title": "Answer 3", "body": "c"}]}, "predictions": []}]"""


def write(directory: Path, content: Any) -> Path:
    path = directory / "export.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def task(**changes: Any) -> dict[str, Any]:
    """One task with a pair, of which the left was chosen; `result`: what is different in the annotation's result."""
    (found,) = json.loads(PAIR)
    found["annotations"] = found["annotations"][:1]
    found["annotations"][0]["result"][0] |= changes.pop("result", {})
    return found | changes


def test_each_annotator_of_a_pair_made_a_comparison(tmp_path: Path) -> None:
    records = read(write(tmp_path, PAIR), "comparisons")
    prompt, left, right = Prompt.of("Capital of France?"), "Paris.", "It is Paris, I think."
    assert records.items == [Comparison(prompt, left, right), Comparison(prompt, right, left)]
    assert records.counts == {"read": 3, "kept": 2, CANCELLED: 1}


def test_a_ranker_orders_a_list(tmp_path: Path) -> None:
    (ranking,) = read(write(tmp_path, RANK), "comparisons").items
    assert ranking == Ranking(Prompt.of("Why?"), ("c", "a", "b"), (1, 2, 3), (("category", "maths"),))


def test_an_export_serves_every_stage_and_every_type_of_file(tmp_path: Path) -> None:
    path = write(tmp_path, RANK)
    assert read(path, "demonstrations").items == [Demonstration(Prompt.of("Why?"), "c")]
    assert read(path, "prompts").items == [Prompt.of("Why?")]
    assert read(path, "documents").items == [Demonstration(Prompt.of("Why?"), "c")]
    lines = tmp_path / "tasks.jsonl"
    lines.write_text("\n".join(json.dumps(json.loads(text)[0]) for text in (PAIR, RANK)), encoding="utf-8")
    assert [type(item) for item in read(lines, "comparisons").items] == [Comparison, Comparison, Ranking]
    with pytest.raises(DataError, match=re.escape("export.json:1: not in data.format=messages")):
        read(path, "comparisons", format="messages")


def test_other_records_that_happen_to_have_such_fields_are_no_tasks(tmp_path: Path) -> None:
    rows = [{"text": "a", "data": "b", "annotations": []}, {"text": "c", "data": {}, "annotations": "d"}]
    assert read(write(tmp_path, rows), "documents").items == [Document("a"), Document("c")]


def test_a_conversation_is_the_prompt(tmp_path: Path) -> None:
    turns = [{"role": r, "content": c} for r, c in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    data = {"prompt": "a\n\nb\n\nc", "messages": turns, "text1": "x", "text2": "y"}
    (found,) = read(write(tmp_path, [task(data=data)]), "comparisons").items
    assert found.prompt == Prompt((("user", "a"), ("assistant", "b"), ("user", "c")))


@pytest.mark.parametrize(
    ("named", "data"),
    [
        ("one,two", {"two": "worse", "one": "better", "text1": "other", "text2": "texts"}),
        (["one", "two"], {"one": "better", "two": "worse"}),
        ("txt-1, txt-2", {"text2": "worse", "text1": "better"}),
        ("left,right", {"answer1": "better", "answer2": "worse"}),
        (None, {"text1": "better", "text2": "worse", "source": "mine"}),
    ],
)
def test_where_the_two_answers_are(tmp_path: Path, named: Any, data: dict[str, str]) -> None:
    content = task(data={"prompt": "q", **data}, result={"to_name": named})
    (found,) = read(write(tmp_path, [content]), "comparisons").items
    assert (found.chosen, found.rejected) == ("better", "worse")
    assert found.tags == ((("source", "mine"),) if "source" in data else ())


def test_two_lists_are_told_apart_by_their_ids_or_by_the_name(tmp_path: Path) -> None:
    (content,) = json.loads(RANK)
    content["data"]["sources"] = [{"id": name, "body": name} for name in ("x", "y")]
    assert read(write(tmp_path, [content]), "comparisons").items[0].best == "c"
    content["data"]["sources"] = [{"id": number, "body": f"source {number}"} for number in range(3)]
    content["annotations"][0]["result"][0]["to_name"] = "sources"
    assert read(write(tmp_path, [content]), "comparisons").items[0].best == "source 2"
    content["annotations"][0]["result"][0]["to_name"] = "answers"
    with pytest.raises(DataError, match="items and sources have items of the ids 2, 0, 1"):
        read(write(tmp_path, [content]), "comparisons")


def test_what_nobody_compared_is_counted_and_never_stops(tmp_path: Path) -> None:
    tasks = [
        task(),
        task(annotations=[]),
        task(annotations=[{"id": 1, "result": []}]),
        task(result={"value": {"selected": None}}),
        task(result={"type": "ranker", "value": {"ranker": {"rank": []}}}),
    ]
    counts = read(write(tmp_path, tasks), "comparisons").counts
    assert counts == {"read": 5, "kept": 1, UNTOUCHED: 1, UNDECIDED: 3}
    with pytest.raises(DataError, match=r"no comparisons in it; .*:1, task 17: "):
        read(write(tmp_path, tasks[1:2]), "comparisons")


def ranker(ranker: Any, data: dict[str, Any] | None = None) -> dict[str, Any]:
    (content,) = json.loads(RANK)
    content["annotations"][0]["result"][0]["value"]["ranker"] = ranker
    content["data"] |= data or {}
    return content


TWINS = [{"id": 1, "body": "a"}, {"id": "1", "body": "b"}]
BAD = [
    (task(result={"value": {"selected": "both"}}), "selected must be left or right, found 'both'"),
    (task(result={"value": 3}), "value of the pairwise result must be an object"),
    (task(result={"type": "choices"}), "needs a result of type pairwise or ranker; the types are choices"),
    (task(result={"type": ["pairwise"]}), "needs a result of type pairwise or ranker; the types are ['pairwise']"),
    (task(annotations=[{"id": 101, "result": "x"}]), "result must be a list of objects"),
    (task(data={"text1": "a", "text2": "b"}), "its data need prompt, or messages; the fields are text1, text2"),
    (task(result={"to_name": 7}, data={"prompt": "a"}), "its data need the two answers as text1 and text2 or"),
    (task(data={"prompt": "a", "text1": "b"}), "its data need the two answers as text1 and text2 or answer1 and"),
    (task(data={"prompt": "a", "text1": "b", "text2": "b"}), "chosen and rejected are equal"),
    (task(data={"prompt": "a", "text1": "b", "text2": 3}), "rejected must be text, found a number"),
    (ranker({"good": ["0"], "bad": ["1"]}), "sorted into buckets (good, bad), which is no order; rank without"),
    (ranker({"_": ["0", "1", "2"]}), "sorted into buckets (_)"),
    (ranker("0"), "ranker must be a list of ids, best first"),
    (ranker({"rank": ["0", "7"]}), "no list in its data has items of the ids 0, 7; the fields are prompt, category"),
    (ranker({"rank": ["0"]}), "responses needs at least 2 entries, found 1"),
    (ranker({"rank": ["1"]}, {"items": TWINS}), "two items of items have the same id"),
]


@pytest.mark.parametrize(("content", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_what_is_wrong_is_said_with_task_and_annotation(tmp_path: Path, content: dict[str, Any], sentence: str) -> None:
    number = content["annotations"][0]["id"]
    path = write(tmp_path, [content, task()])
    with pytest.raises(DataError, match=re.escape(f"{path}:1, task {content['id']}, annotation {number}: {sentence}")):
        read(path, "comparisons")
    counts = read(path, "comparisons", on_error="skip").counts
    assert (counts["read"], counts["kept"]) == (2, 1)


@pytest.mark.parametrize(("annotation", "sentence"), [("x", "must be an object"), ({}, "result must be a list")])
def test_annotations_without_numbers_are_counted(tmp_path: Path, annotation: Any, sentence: str) -> None:
    content = task(annotations=[{"id": 5, "was_cancelled": True}, annotation])
    del content["id"]
    with pytest.raises(DataError, match=re.escape(f"export.json:1, annotation 2: {sentence}")):
        read(write(tmp_path, [content]), "comparisons")


def test_the_short_export_is_refused(tmp_path: Path) -> None:
    short = {"id": 17, "prompt": "q", "text1": "a", "text2": "b", "annotator": 1, "annotation_id": 101, "pw": "left"}
    with pytest.raises(DataError, match=re.escape("export.json:1: a task of Label Studio's JSON-MIN")):
        read(write(tmp_path, [short]), "comparisons")
