"""Every format by an example of its publisher's layout: what is read, what is refused, and that no two claim one."""

# One record a line, however long: they are read as a table.
# ruff: noqa: E501

from __future__ import annotations

import json
from collections.abc import Collection
from importlib.metadata import EntryPoint
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlhf.data import importers
from rlhf.data.fields import canonical
from rlhf.data.files import BadRecord
from rlhf.data.formats import detected, parse
from rlhf.data.meaning import LEFT_OUT, NOTHING_LEARNT, UNDESIRABLE, UNKNOWN_FIELD, WITHOUT_COMPARISON
from rlhf.data.records import Comparison, Demonstration, Document, Kind, Labelled, Prompt, Ranking
from rlhf.errors import DataError

HI = Prompt.of("hi")
SYSTEM = Prompt((("system", "be brief"), ("user", "hi")))
TALK = Prompt((("user", "a"), ("assistant", "b"), ("user", "hi")))


def says(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": text, **more}


def from_(role: str, text: Any, **more: Any) -> dict[str, Any]:
    return {"from": role, "value": text, **more}


CHAT = [says("user", "hi"), says("assistant", "yo")]
SHARED = [from_("human", "hi"), from_("gpt", "yo")]
TREE_MESSAGE = {"message_id": "1", "role": "prompter", "text": "hi", "deleted": False, "review_result": True}
BEST = {"role": "assistant", "text": "yo", "rank": 0}
WORST = {"role": "assistant", "text": "no", "rank": 1}
SAFERLHF = {
    "prompt": "hi", "response_0": "yo", "response_1": "no", "prompt_source": "x", "response_0_source": "m",
    "is_response_0_safe": False, "is_response_1_safe": True, "better_response_id": 0, "safer_response_id": 1,
    "response_0_harm_category": {"Violence": True}, "response_0_severity_level": 2,
}  # fmt: skip
JUDGED = "###Task Description:\nx\n###The instruction to evaluate:\nhi\n\n###Response to evaluate:\n{}\n\n###Score Rubrics:\n[x]"
RATED = {"helpfulness": {"Rating": "5", "Rationale": "a\nb"}, "honesty": {"Rating": "N/A"}}
POOR = {"helpfulness": {"Rating": "2"}, "honesty": {"Rating": "1"}}

EXAMPLES: dict[str, tuple[dict[str, Any], dict[Kind, Any]]] = {
    "jsonl": (
        {"system": "be brief", "prompt": "hi", "response": "yo", "id": 3, "source": "mine"},
        {"demonstrations": [Demonstration(SYSTEM, "yo")], "prompts": [SYSTEM]},
    ),
    "hh": (
        {"chosen": "\n\nHuman: hi\n\nAssistant: yo", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
        {"comparisons": [Comparison(HI, "yo", "no")], "demonstrations": [Demonstration(HI, "yo")], "prompts": [HI]},
    ),
    "messages": ({"messages": CHAT, "id": "x"}, {"demonstrations": [Demonstration(HI, "yo")], "prompts": [HI]}),
    "text": ({"text": "a", "label": 3, "system": "x"}, {"documents": [Document("a")]}),
    "unpaired": (
        {"prompt": "hi", "completion": "yo", "label": "false"},
        {"labels": [Labelled(HI, "yo", False)], "demonstrations": [UNDESIRABLE], "comparisons": ["missing_field"]},
    ),
    "sharegpt": (
        {"conversations": [from_("human", "a"), from_("chatgpt", "b"), *SHARED], "id": "x", "system": ""},
        {"demonstrations": [Demonstration(TALK, "yo")], "prompts": [TALK]},
    ),
    "alpaca": (
        {"instruction": "Add.", "input": "1 + 1", "output": "2", "system": "be brief", "history": [["a", "b"]]},
        {
            "demonstrations": [
                Demonstration(
                    Prompt((("system", "be brief"), ("user", "a"), ("assistant", "b"), ("user", "Add.\n1 + 1"))), "2"
                )
            ]
        },
    ),
    "self_instruct": (
        {"id": "s", "name": "n", "instruction": "Add.", "instances": [{"input": "1 + 1", "output": "2"}, {"input": "", "output": "?"}],
         "is_classification": False},
        {"demonstrations": [Demonstration(Prompt.of("Add.\n1 + 1"), "2"), Demonstration(Prompt.of("Add."), "?")]},
    ),
    "qa": ({"question": "hi", "answer": "1\n#### 2"}, {"demonstrations": [Demonstration(HI, "1\n#### 2")]}),
    "orca": (
        {"system": "be brief", "question": "hi", "chosen": "yo", "rejected": "no"},
        {"comparisons": [Comparison(SYSTEM, "yo", "no")], "demonstrations": [Demonstration(SYSTEM, "yo")]},
    ),
    "ms_swift": (
        {"messages": CHAT, "rejected_response": "no"},
        {"comparisons": [Comparison(HI, "yo", "no")], "demonstrations": [Demonstration(HI, "yo")], "prompts": [HI]},
    ),
    "pandalm": (
        {"idx": 1, "motivation_app": "x", "cmp_key": "a_b", "instruction": "hi", "input": "", "response1": "no",
         "response2": "yo", "annotator1": 2, "annotator2": 0, "annotator3": "2"},
        {"comparisons": [Ranking(HI, ("no", "yo"), (2, 1))], "demonstrations": [Demonstration(HI, "yo")]},
    ),
    "prometheus": (
        {"source": "honest", "chosen_instruction": JUDGED.format("yo"), "rejected_instruction": JUDGED.format("no")},
        {"comparisons": [Comparison(HI, "yo", "no", (("source", "honest"),))], "prompts": [HI]},
    ),
    "mt_bench": ({"question_id": 1, "category": "x", "turns": ["hi", "shorter"], "reference": ["a\nb"]}, {"prompts": [HI]}),
    "model_written": (
        {"question": "hi", "answer_matching_behavior": " Yes", "answer_not_matching_behavior": " No", "statement": "s"},
        {"prompts": [HI], "comparisons": ["missing_field"]},
    ),
    "ultrafeedback": (
        {"source": "flan", "instruction": "hi", "models": ["a", "b"], "correct_answers": ["None"], "incorrect_answers": [],
         "completions": [
             {"response": "no", "annotations": POOR, "overall_score": 10, "fine-grained_score": 1.5, "custom_system_prompt": "x"},
             {"response": "yo", "annotations": RATED, "overall_score": 7, "critique": "long\ntext"}]},
        {"comparisons": [Ranking(HI, ("no", "yo"), (2, 1), (("source", "flan"),))], "prompts": [HI],
         "demonstrations": [Demonstration(HI, "yo")]},
    ),
    "saferlhf": (
        SAFERLHF,
        # The better answer is unsafe, so the other one is what may be imitated.
        {"comparisons": [Comparison(HI, "yo", "no")], "demonstrations": [Demonstration(HI, "no")], "prompts": [HI]},
    ),
    "rewardbench": (
        {"id": "1", "prompt": "hi", "chosen": ["yo", "yes"], "rejected": ["no", "nah"], "num_correct": 2, "num_incorrect": 2,
         "total_completions": 4, "models": ["a", "b"], "subset": "Ties", "additional_metadata": {"x": "a\nb"}},
        {"comparisons": [Ranking(HI, ("yo", "yes", "no", "nah"), (1, 1, 2, 2), (("subset", "Ties"),))], "prompts": [HI]},
    ),
    "openassistant": (
        {"message_tree_id": "1", "tree_state": "ready_for_export", "prompt": {**TREE_MESSAGE, "replies": [WORST, BEST]}},
        {"comparisons": [Ranking(HI, ("no", "yo"), (2, 1))], "demonstrations": [Demonstration(HI, "yo")], "prompts": [HI]},
    ),
    "label_studio": (
        {"id": 7, "data": {"prompt": "hi", "text1": "yo", "text2": "no"}, "annotations": [
            {"id": 1, "result": [{"type": "pairwise", "to_name": "text1,text2", "value": {"selected": "left"}}]}]},
        {"comparisons": [Comparison(HI, "yo", "no")], "prompts": [HI]},
    ),
}  # fmt: skip
NAMED_ONLY = {"saferlhf_safer"}


def read(value: Any, kind: Kind, format: str = "auto", ignore: Collection[str] = ()) -> list[Any]:
    """Records, and the reasons of those that are none."""
    return [found.reason if isinstance(found, BadRecord) else found for found in parse(value, kind, format, ignore)]


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
         "comparisons", [Ranking(HI, ("a", "b"), (1, 1))]),
        ({"instruction": "hi", "completions": [{"response": "a", "overall_score": 3}]}, "comparisons", [WITHOUT_COMPARISON]),
        ({"prompt": "hi", "prompt_id": "x", "chosen": CHAT, "rejected": [CHAT[0], says("assistant", "no")], "messages": CHAT,
          "score_chosen": 8.0, "score_rejected": 6.0}, "comparisons", [Comparison(HI, "yo", "no")]),
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


CALL = {"name": "add", "arguments": {"a": 2}}
TOOL = {"name": "add", "description": "adds", "parameters": {"type": "object"}}
CALLED = canonical({"tool_calls": [{"type": "function", "function": CALL}]})
TOOLS = canonical([{"type": "function", "function": TOOL}])


@pytest.mark.parametrize(
    "value",
    [
        {"conversations": [from_("human", "2+2?"), from_("function_call", json.dumps(CALL)), from_("observation", "4"), from_("gpt", "It is 4.")],
         "tools": json.dumps([TOOL])},
        {"messages": [says("user", "2+2?"), says("assistant", None, tool_calls=[{"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}]),
                      says("tool", "4"), says("assistant", "It is 4.")], "tools": [{"type": "function", "function": TOOL}]},
        {"messages": [says("user", "2+2?"), says("assistant", "", function_call=CALL), says("function", "4"), says("assistant", "It is 4.")],
         "tools": [TOOL]},
    ],
)  # fmt: skip
def test_tools_and_calls_are_kept(value: dict[str, Any]) -> None:
    turns = (("user", "2+2?"), ("assistant", ""), ("tool", "4"))
    assert read(value, "demonstrations") == [Demonstration(Prompt(turns, TOOLS, ((1, CALLED),)), "It is 4.")]


def test_a_call_can_be_the_answer_and_stands_in_one_turn_with_what_is_said() -> None:
    talk = [from_("human", "2+2?"), from_("gpt", "Let me see."), from_("function_call", json.dumps(CALL))]
    assert read({"conversations": talk}, "demonstrations") == [
        Demonstration(Prompt.of("2+2?"), "Let me see.", extras=CALLED)
    ]
    assert read({"conversations": [talk[0], from_("function_call", "no json")]}, "demonstrations") == ["bad_tool_call"]
    assert read({"messages": CHAT, "tools": "none"}, "demonstrations") == ["wrong_type"]


def test_weights_of_turns_are_kept() -> None:
    talk = [says("user", "a"), says("assistant", "b", weight=0), *CHAT]
    assert read({"messages": talk}, "demonstrations") == [Demonstration(TALK, "yo", (0, 1))]
    assert read({"messages": [CHAT[0], says("assistant", "yo", loss=False)]}, "demonstrations") == [NOTHING_LEARNT]
    assert read({"messages": [CHAT[0], says("assistant", "yo", weight=0.5)]}, "demonstrations") == ["wrong_type"]


def test_parts_that_are_text_are_joined_and_others_refused_by_name() -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    assert read({"messages": [says("user", parts), CHAT[1]]}, "demonstrations") == [Demonstration(HI, "yo")]  # type: ignore[arg-type]
    (error,) = parse(
        {"messages": [says("user", [*parts, {"type": "image_url", "image_url": {}}]), CHAT[1]]}, "demonstrations"
    )  # type: ignore[arg-type]
    assert isinstance(error, BadRecord) and error.reason == "not_text"
    assert "messages[0].content[2]" in str(error) and "image_url" in str(error)


UNDERSTOOD = [
    ({"model": "m", "created_at": 3, "my_number": 0.5, "flag": True, "note": "a\nb" * 90}, "demonstrations"),
    ({"system": "", "history": [], "tools": [], "images": [], "score": None, "weight": 1}, "demonstrations"),
    ({"mood": "cheerful", "link": "https://example.org/" + "a" * 200}, "demonstrations"),
    ({"label": "unsafe", "score": 3, "rejected": "x", "rating": 3}, "prompts"),
]
CHANGING = [
    *(({name: value}, "demonstrations") for name, value in {
        "score": 3, "weight": 0.5, "rating": 2, "reward": 1.0, "rejected": "no", "label": 0.5, "messages_b": CHAT, "images": ["a.png"],
        "Context": "Paris", "reasoning-content": "x", "my_notes": "one\ntwo", "briefing": "x" * 101, "turn": {"role": "user", "said": "x"},
    }.items()),
    ({"margin": 1.5, "chosen": "yo", "rejected": "no"}, "comparisons"),
    ({"images": ["a.png"]}, "prompts"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "kind"), UNDERSTOOD)
def test_fields_without_a_meaning_pass(more: dict[str, Any], kind: Kind) -> None:
    (found,) = read({"prompt": "hi", "response": "yo", **more}, kind)
    assert not isinstance(found, str)


@pytest.mark.parametrize(("more", "kind"), CHANGING, ids=[next(iter(more)) for more, _ in CHANGING])
def test_fields_that_could_change_the_meaning_stop_unless_they_are_ignored(more: dict[str, Any], kind: Kind) -> None:
    value = {"prompt": "hi", **({} if "chosen" in more else {"completion": "yo"}), **more}
    name = next(iter(more))
    (error,) = parse(value, kind)
    assert isinstance(error, BadRecord) and name in str(error)
    if name != "label":  # a label is a format of its own, and this is none of its values
        assert error.reason == UNKNOWN_FIELD and f"data.ignore=[{name}]" in str(error)
    (found,) = read(value, kind, ignore=[name])
    assert not isinstance(found, str)


def test_fields_of_messages_stop_too() -> None:
    (error,) = parse({"messages": [CHAT[0], says("assistant", "yo", reasoning_content="hm")]}, "demonstrations")
    assert (
        isinstance(error, BadRecord) and error.reason == UNKNOWN_FIELD and "messages[1].reasoning_content" in str(error)
    )


LEAVES = st.none() | st.booleans() | st.integers(-3, 12) | st.floats() | st.text(max_size=12) | st.sampled_from(
    ["hi", "yo", "\n\nHuman: hi\n\nAssistant: yo", "[[", '[{"from": "human", "value": "hi"}]', "\ud800", "user", "gpt", "tool", "0", "true"]
)  # fmt: skip
KEYS = st.sampled_from(
    sorted({name for one in importers.each() for name in one.fields} | {
        "role", "content", "from", "value", "text", "rank", "replies", "tool_calls", "function", "name", "arguments", "type", "id", "body",
        "result", "selected", "ranker", "to_name", "annotations", "response", "Rating", "images", "weight", "label", "score",
    })
)  # fmt: skip
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25)  # fmt: skip


def broken(example: Any, path: list[int], value: Any) -> Any:
    """A copy of an example with one value somewhere in it replaced: random objects alone rarely get far."""
    if not path or not isinstance(example, dict | list) or not example:
        return value
    keys = list(example) if isinstance(example, dict) else list(range(len(example)))
    key = keys[path[0] % len(keys)]
    copy = example.copy()
    copy[key] = broken(example[key], path[1:], value)
    return copy


def check(value: Any, kind: Kind, format: str) -> None:
    for found in parse(value, kind, format):
        if isinstance(found, BadRecord):
            assert found.reason and str(found) and "\n" not in str(found)
        elif isinstance(found, Prompt):
            assert kind == "prompts"
        else:
            expected = {"demonstrations": Demonstration, "labels": Labelled, "comparisons": Comparison | Ranking}
            assert isinstance(found, expected.get(kind, Document | Demonstration))
            if isinstance(found, Demonstration):
                assert len(found.learnt) == sum(message["role"] == "assistant" for message in found.messages())
                assert found.response or found.extras


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=st.dictionaries(KEYS, VALUES, max_size=8) | VALUES, kind=st.sampled_from(get_args(Kind)))
def test_any_json_becomes_records_or_a_sentence(value: Any, kind: Kind) -> None:
    for name in importers.names():
        check(value, kind, name)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(EXAMPLES)),
    path=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    value=VALUES,
    kind=st.sampled_from(get_args(Kind)),
)
def test_an_example_with_a_fault_becomes_records_or_a_sentence(
    name: str, path: list[int], value: Any, kind: Kind
) -> None:
    for format in ("auto", name):
        check(broken(EXAMPLES[name][0], path, value), kind, format)


SHP = """
FIELDS = {"history": "the question", "labels": "which is better"}
def matches(fields): return fields.keys() >= FIELDS.keys()
def parse(fields, kind):
    from rlhf.data.answers import standard_records
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


def test_nesting_without_end_is_a_sentence() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert read({"prompt": "hi", "response": "yo", "unheard_of": deep}, "demonstrations") == ["wrong_type"]
