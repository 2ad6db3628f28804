"""A record of each data format that the lab reads."""

from __future__ import annotations

from typing import Any

_ASKED = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]
_ANSWERED = [*_ASKED, {"role": "assistant", "content": "So."}]
_REPLY = {"text": "So.", "role": "assistant", "rank": 0, "replies": [{"text": "And?", "role": "prompter"}]}
_CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
_JUDGED = "###The instruction to evaluate:\nWhy?\n###Response to evaluate:\n{}\n###Score Rubrics:\nx"
_ANNOTATION = {"id": 2, "result": [{"type": "pairwise", "to_name": "text1,text2", "value": {"selected": "left"}}]}
_RANKED = {"type": "ranker", "value": {"ranker": {"rank": ["1", "2"]}}}
_ITEMS = [{"id": "1", "body": "So."}, {"id": "2", "body": "No."}]

SAMPLES: list[dict[str, Any]] = [
    {"prompt": "Why?", "response": "So.", "system": "Be kind.", "history": [["q", "a"]]},
    {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "category": "maths"},
    {"prompt": "Why?", "responses": [{"text": "So.", "rank": 1}, {"text": "No.", "rank": 2}]},
    {"prompt": "Why?", "completion": "So.", "label": True},
    {"text": "A document."},
    {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
    {"messages": _ANSWERED, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    {"messages": [*_ASKED, {"role": "assistant", "tool_calls": [_CALL]}, {"role": "tool", "content": "4", "name": "f"},
                  {"role": "assistant", "content": [{"type": "text", "text": "4"}], "weight": 1}]},
    {"prompt": _ASKED, "chosen": _ANSWERED[2:], "rejected": [{"role": "assistant", "content": "No."}]},
    {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}], "system": "Be kind."},
    {"conversations": [{"from": "human", "value": "Why?"}], "chosen": {"from": "gpt", "value": "So."},
     "rejected": {"from": "gpt", "value": "No."}},
    {"instruction": "Add.", "input": "1 2", "output": "3"},
    {"instruction": "Add.", "input": "1 2", "response1": "3", "response2": "4", "annotator1": 1, "annotator2": 1,
     "annotator3": 0},
    {"instruction": "Add.", "instances": [{"input": "1 2", "output": "3"}], "is_classification": False},
    {"instruction": "Why?", "completions": [
        {"response": "So.", "annotations": {"helpfulness": {"Rating": "5"}}, "overall_score": 8.5},
        {"response": "No.", "annotations": {"helpfulness": [{"Rating": "1"}]}, "fine-grained_score": 2.0}]},
    {"prompt": "Why?", "chosen": _ANSWERED, "rejected": _ASKED, "score_chosen": 8.0, "score_rejected": 2.0},
    {"messages": _ANSWERED, "rejected_response": "No."},
    {"query": "Why?", "response": "So.", "history": [["q", "a"]]},
    {"question": "Why?", "answer": "So. #### 4"},
    {"system": "Be kind.", "question": "Why?", "chosen": "So.", "rejected": "No.", "status": "tie"},
    {"question": "Why?", "answer_matching_behavior": " (A)", "answer_not_matching_behavior": " (B)"},
    {"turns": ["Why?", "And?"], "question_id": 1, "category": "maths", "reference": ["So."]},
    {"chosen_instruction": _JUDGED.format("So."), "rejected_instruction": _JUDGED.format("No.")},
    {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "chosen_model": "a", "rejected_model": "b", "subset": "x"},
    {"prompt": "Why?", "chosen": ["So.", "Yes."], "rejected": ["No."], "subset": "Ties"},
    {"prompt": "Why?", "response_0": "So.", "response_1": "No.", "better_response_id": 0, "safer_response_id": 1,
     "is_response_0_safe": True, "is_response_1_safe": False},
    {"message_tree_id": "x", "tree_state": "ready_for_export", "prompt": {
        "text": "Why?", "role": "prompter", "replies": [_REPLY, {"text": "No.", "role": "assistant", "rank": 1}]}},
    {"id": 1, "data": {"prompt": "Why?", "text1": "So.", "text2": "No."}, "annotations": [_ANNOTATION]},
    {"id": 1, "data": {"prompt": "Why?", "items": _ITEMS}, "annotations": [{"id": 2, "result": [_RANKED]}]},
]  # fmt: skip
