"""Every format by an example of its publisher's layout: what is read, what is refused, and that no two claim one."""

# One record a line, however long: they are read as a table.
# ruff: noqa: E501

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest

from rlhf.data import importers
from rlhf.data.files.values import BadRecord
from rlhf.data.formats.meaning import LEFT_OUT, UNDESIRABLE, UNKNOWN_FIELD, WITHOUT_COMPARISON
from rlhf.data.formats.parse import detected, parse
from rlhf.data.records import Comparison, Demonstration, Kind, Labelled, Prompt, Ranking
from rlhf.errors import DataError
from tests.data.formats.format_examples import (
    CHAT,
    EXAMPLES,
    HI,
    NAMED_ONLY,
    SAFERLHF,
    SHARED,
    SYSTEM,
    TALK,
    from_,
    read,
    says,
)


def test_every_format_has_an_example() -> None:
    assert {*EXAMPLES} | NAMED_ONLY == {*importers.names()} - {"auto"}
    for one in importers.each():
        assert {*one.over} <= {*importers.names(), "*"}, one.name
        assert one.fields and all(one.fields.values()), one.name


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_read_as_its_format(name: str) -> None:
    value, expected = EXAMPLES[name]
    for kind, records in expected.items():
        assert read(value, kind) == read(value, kind, name) == records
        found = detected(value, kind)
        assert found is not None and found.name == name


@pytest.mark.parametrize(("one", "other"), list(combinations(EXAMPLES, 2)))
def test_a_record_of_two_formats_is_read_as_one_or_refused_by_both_names(one: str, other: str) -> None:
    """The order of the fields decides nothing."""
    value = {**EXAMPLES[one][0], **EXAMPLES[other][0]}
    for kind in get_args(Kind):
        outcomes = []
        for fields in (value, dict(reversed(value.items()))):
            try:
                found = importers.detect(fields, kind)
                outcomes.append(found and found.name)
            except BadRecord as error:
                assert error.reason == "wrong_format" and "both claim it" in str(error)
                outcomes.append("refused")
        assert outcomes[0] == outcomes[1]


def test_a_named_format_refuses_what_is_written_in_another() -> None:
    for name in EXAMPLES:
        if name not in ("text", "jsonl"):
            assert read({"prompt": "hi", "response": "yo"}, "demonstrations", name) == ["wrong_format"]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        # The other label of SafeRLHF, and answers that are both unsafe.
        ({**SAFERLHF, "better_response_id": "1"}, "comparisons", [Comparison(HI, "no", "yo")]),
        ({**SAFERLHF, "is_response_1_safe": False}, "demonstrations", [LEFT_OUT]),
        ({**SAFERLHF, "better_response_id": 2}, "comparisons", ["wrong_type"]),
        # KTO's labels as people write them.
        *[({"prompt": "hi", "completion": "yo", "label": label}, "labels", [Labelled(HI, "yo", said)])
          for label, said in ((True, True), (1, True), ("true", True), ("1", True), (False, False), (0, False), ("False", False))],
        ({"prompt": "hi", "completion": "yo", "label": True}, "demonstrations", [Demonstration(HI, "yo")]),
        ({"prompt": "hi", "completion": "yo", "label": "safe"}, "demonstrations", ["wrong_type"]),
        ({"prompt": [says("user", "hi")], "completion": CHAT[1:], "label": 0}, "labels", [Labelled(HI, "yo", False)]),
        ({"messages": CHAT, "label": False}, "demonstrations", [UNDESIRABLE]),
        ({"instruction": "hi", "output": "yo", "kto_tag": False}, "labels", [Labelled(HI, "yo", False)]),
        ({"conversations": SHARED, "kto_tag": 0}, "demonstrations", [UNDESIRABLE]),
        ({"messages": CHAT, "label": False}, "prompts", [HI]),
        # A label judges the last answer: earlier ones are context.
        ({"messages": [says("user", "a"), says("assistant", "b"), *CHAT], "label": True}, "demonstrations", [Demonstration(TALK, "yo", (0, 1))]),
        # ShareGPT: names of roles, system turns, an assistant that begins, the text of a list, tools.
        ({"conversations": [from_("system", "be brief"), from_("user", "hi"), from_("bing", "yo")]}, "demonstrations", [Demonstration(SYSTEM, "yo")]),
        ({"conversations": json.dumps(SHARED)}, "demonstrations", [Demonstration(HI, "yo")]),
        ({"conversations": [from_("gpt", "b"), *SHARED]}, "demonstrations", [Demonstration(Prompt((("assistant", "b"), ("user", "hi"))), "yo")]),
        ({"conversations": [from_("human", ""), from_("gpt", "yo")]}, "demonstrations", ["bad_turns"]),
        ({"conversations": [from_("human", "hi"), from_("gpt", " ")]}, "demonstrations", ["empty_field"]),
        ({"conversations": SHARED[:1]}, "demonstrations", ["bad_turns"]),
        ({"conversations": []}, "demonstrations", ["empty_field"]),
        ({"conversations": [from_("alien", "hi")]}, "prompts", ["bad_turns"]),
        ({"conversations": SHARED[:1], "chosen": from_("gpt", "yo"), "rejected": from_("gpt", "no")}, "comparisons", [Comparison(HI, "yo", "no")]),
        ({"conversations": SHARED, "chosen": from_("gpt", "yo"), "rejected": from_("gpt", "no")}, "comparisons", ["bad_turns"]),
        ({"conversation": CHAT}, "demonstrations", [Demonstration(HI, "yo")]),
        # Alpaca and Dolly.
        ({"instruction": "hi", "input": "", "output": "yo", "text": "long\ntext"}, "demonstrations", [Demonstration(HI, "yo")]),
        ({"instruction": "", "input": "hi", "output": "yo"}, "demonstrations", [Demonstration(HI, "yo")]),
        ({"instruction": "", "input": "", "output": "yo"}, "demonstrations", ["empty_field"]),
        ({"instruction": "hi", "context": "c", "response": "yo", "category": "qa"}, "demonstrations", [Demonstration(Prompt.of("hi\nc"), "yo")]),
        ({"instruction": "hi", "input": "", "chosen": "yo", "rejected": "no"}, "comparisons", [Comparison(HI, "yo", "no")]),
        # Orca and distilabel.
        ({"system_prompt": "", "question": "hi", "response": "yo", "id": "x"}, "demonstrations", [Demonstration(HI, "yo")]),
        ({"system": "be brief", "input": "hi", "chosen": "yo", "rejected": "no", "status": "tie"}, "comparisons", [LEFT_OUT]),
        ({"system": "", "input": "hi", "chosen": "yo", "rejected": "no", "status": "unchanged", "rationale": "a\nb"}, "comparisons", [Comparison(HI, "yo", "no")]),
        # ms-swift.
        ({"messages": CHAT, "rejected_messages": [CHAT[0], says("assistant", "no")]}, "comparisons", [Comparison(HI, "yo", "no")]),
        ({"query": "hi", "response": "yo", "rejected_response": "no", "history": [["a", "b"]]}, "comparisons", [Comparison(TALK, "yo", "no")]),
        ({"query": "hi", "response": "yo", "history": []}, "demonstrations", [Demonstration(HI, "yo")]),
        ({"messages": CHAT[:1]}, "prompts", [HI]),
        ({"messages": CHAT, "images": ["a.png"]}, "demonstrations", [UNKNOWN_FIELD]),
        # RewardBench 1, and two sides that share an answer.
        ({"prompt": "hi", "chosen": "yo", "rejected": "no", "chosen_model": "a", "rejected_model": "b", "subset": "s", "id": 1}, "comparisons",
         [Comparison(HI, "yo", "no", (("subset", "s"),))]),
        ({"prompt": "hi", "chosen": ["yo"], "rejected": ["yo"]}, "comparisons", ["equal_answers"]),
        # UltraFeedback: ties, answers that nobody rated, and the binarised form, where messages repeat chosen.
        ({"instruction": "hi", "completions": [{"response": "a", "overall_score": 3}, {"response": "b", "overall_score": 3}, {"response": "c"}]},
         "comparisons", [Ranking(HI, ("a", "b"), (1, 1), scores=(3, 3))]),
        ({"instruction": "hi", "completions": [{"response": "a", "overall_score": 3}]}, "comparisons", [WITHOUT_COMPARISON]),
        ({"prompt": "hi", "prompt_id": "x", "chosen": CHAT, "rejected": [CHAT[0], says("assistant", "no")], "messages": CHAT,
          "score_chosen": 8.0, "score_rejected": 6.0}, "comparisons", [Comparison(HI, "yo", "no", margin=2.0)]),
        ({**EXAMPLES["mt_bench"][0], "turns": [" \n", "b"]}, "prompts", ["empty_field"]),
        # PandaLM: three people who say three things, and two answers that are one.
        ({**EXAMPLES["pandalm"][0], "annotator1": 1}, "comparisons", [Ranking(HI, ("no", "yo"), (1, 1))]),
        ({**EXAMPLES["pandalm"][0], "response1": "yo"}, "comparisons", [Ranking(HI, ("yo", "yo"), (1, 1))]),
        ({**EXAMPLES["pandalm"][0], "annotator1": 3}, "comparisons", ["wrong_type"]),
        # A line that is one conversation.
        (CHAT, "demonstrations", [Demonstration(HI, "yo")]),
        ([CHAT], "demonstrations", ["wrong_type"]),
    ],
)  # fmt: skip
def test_variants(value: Any, kind: Kind, expected: list[Any]) -> None:
    assert read(value, kind) == expected


def test_the_other_label_of_saferlhf_has_to_be_named() -> None:
    assert read(SAFERLHF, "comparisons", "saferlhf_safer") == [Comparison(HI, "no", "yo")]
    assert importers.importer("saferlhf").note


def reply(text: str, *replies: dict[str, Any], role: str = "assistant", **more: Any) -> dict[str, Any]:
    return {"role": role, "text": text, "replies": list(replies), **more}


TREE = {
    "message_tree_id": "t",
    "tree_state": "ready_for_export",
    "prompt": reply(
        "q",
        reply("spam", rank=0, deleted=True),
        reply("best", reply("q2", reply("a2"), role="prompter"), reply("q3", reply("a3"), role="prompter"), rank=1),
        reply("worse", reply("q4", reply("a4"), role="prompter"), rank=2),
        reply("unranked", rank=None),
        role="prompter",
    ),
}


def test_a_tree_gives_rankings_threads_and_prompts() -> None:
    q = Prompt.of("q")
    assert read(TREE, "comparisons") == [Ranking(q, ("best", "worse"), (2, 3))]
    after = (("user", "q"), ("assistant", "best"))
    assert read(TREE, "demonstrations") == [
        Demonstration(Prompt((*after, ("user", "q2"))), "a2"),
        # The thread before it has taught the first answer.
        Demonstration(Prompt((*after, ("user", "q3"))), "a3", (0, 1)),
    ]
    assert [prompt.text for prompt in read(TREE, "prompts")] == ["q", "q2", "q3", "q4"]
    assert read({**TREE, "tree_state": "aborted_low_grade"}, "prompts") == [LEFT_OUT]
    assert read({**TREE, "prompt": {**TREE["prompt"], "deleted": True}}, "demonstrations") == [LEFT_OUT]  # type: ignore[dict-item]
    assert read({"prompt": reply("q", reply("a"), role="prompter")}, "comparisons") == [WITHOUT_COMPARISON]
    flat = {"message_id": "1", "parent_id": None, "text": "q", "role": "prompter", "rank": None}
    assert read(flat, "demonstrations") == ["wrong_format"]


SHP = """
FIELDS = {"history": "the question", "labels": "which is better"}
def matches(fields): return fields.keys() >= FIELDS.keys()
def parse(fields, kind):
    from rlhf.data.formats.answers import standard_records
    yield from standard_records({"prompt": fields["history"], "response": str(fields["labels"])}, kind)
"""


def test_an_importer_of_another_package_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "elsewhere_shp.py").write_text(SHP)
    (tmp_path / "elsewhere_bad.py").write_text("FIELDS = {}")
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint(name, f"elsewhere_{name}", importers.GROUP) for name in ("shp", "bad")]
    monkeypatch.setattr(importers, "entry_points", lambda group: points[:1])
    value = {"history": "hi", "labels": 1, "system": "x"}
    importers._modules.cache_clear()
    try:
        assert "shp" in importers.names()
        assert read({"history": "hi", "labels": 1}, "demonstrations") == [Demonstration(HI, "1")]
        (error,) = parse(value, "demonstrations")
        assert isinstance(error, BadRecord) and error.reason == UNKNOWN_FIELD and "system" in str(error)
        monkeypatch.setattr(importers, "entry_points", lambda group: points)
        importers._modules.cache_clear()
        with pytest.raises(DataError, match=r"the importer bad .* has no matches"):
            importers.importer("bad")
    finally:
        monkeypatch.undo()
        importers._modules.cache_clear()
        importers.importer.cache_clear()
    with pytest.raises(DataError, match=r"data\.format: 'alpacca' .*did you mean alpaca"):
        importers.importer("alpacca")
