"""An example of every format in its publisher's layout, with what is read of it."""

# One record a line, however long: they are read as a table.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.meaning import UNDESIRABLE
from rlhf.data.formats.parse import parse
from rlhf.data.records import Comparison, Demonstration, Document, Kind, Labelled, Prompt, Ranking, StepLabelled

HI = Prompt.of("hi")
SYSTEM = Prompt((("system", "be brief"), ("user", "hi")))
TALK = Prompt((("user", "a"), ("assistant", "b"), ("user", "hi")))


def says(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": text, **more}


def from_(role: str, text: Any, **more: Any) -> dict[str, Any]:
    return {"from": role, "value": text, **more}


def said(rating: int | None, text: str) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": None}


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
        {"comparisons": [Ranking(HI, ("no", "yo"), (2, 1), (("source", "flan"),), (1.5, 5.0))], "prompts": [HI],
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
    "stepwise": (
        {"prompt": "hi", "completions": ["one", "two", "three"], "labels": [True, 0.25, None], "source": "mine"},
        {"steps": [StepLabelled(HI, ("one", "two", "three"), (1.0, 0.25, None), (("source", "mine"),))], "prompts": [HI]},
    ),
    "math_shepherd": (
        {"input": "hi Step 1: 1+1=2 ки\nStep 2: The answer is: 3 ки", "label": "hi Step 1: 1+1=2 +\nStep 2: The answer is: 3 -",
         "task": "GSM8K"},
        {"steps": [StepLabelled(HI, ("Step 1: 1+1=2 ", "\nStep 2: The answer is: 3 "), (1.0, 0.0))], "prompts": [HI]},
    ),
    "prm800k": (
        {"labeler": "x", "timestamp": "2022", "generation": None, "is_quality_control_question": False,
         "question": {"problem": "hi", "ground_truth_answer": "3"},
         "label": {"finish_reason": "found_error", "total_time": 1, "steps": [
             {"completions": [said(-1, "bad"), said(0, "so"), said(1, "good")], "human_completion": None, "chosen_completion": 2},
             {"completions": [said(None, "x")], "chosen_completion": None,
              "human_completion": {"text": "mine", "rating": None, "corrected_rating": 1}},
             {"completions": [said(-1, "end")], "human_completion": None, "chosen_completion": None}]}},
        {"steps": [
            StepLabelled(HI, ("good", "mine", "end"), (1.0, 1.0, 0.0)),
            StepLabelled(HI, ("bad",), (0.0,)), StepLabelled(HI, ("so",), (1.0,))], "prompts": [HI]},
    ),
}  # fmt: skip
NAMED_ONLY = {"gsm8k", "prm800k_strict", "saferlhf_safer"}


def read(value: Any, kind: Kind, format: str = "auto", ignore: Collection[str] = ()) -> list[Any]:
    """Records, and the reasons of those that are none."""
    return [found.reason if isinstance(found, BadRecord) else found for found in parse(value, kind, format, ignore)]
