"""Questions as tasks of Label Studio: the projects that ask them, and the data that its people see."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict
from xml.sax.saxutils import quoteattr

from rlhf.data.importers.label_studio import TIE
from rlhf.data.records import Prompt, asked
from rlhf.errors import DataError
from rlhf.labelling.annotations import prompt_in
from rlhf.labelling.questions import Question, make_question, sides
from rlhf.storage.shapes import fits

EVERYBODY = "label-studio"
"""In place of an annotator's name where sides are drawn: a task looks the same to all of them."""
BETTER, RANK = "better", "rank"
"""Names of the tags that people answer with, beside `TIE`."""
CONTROLS = {"pairs": ((BETTER, "Pairwise", ("answer1", "answer2")),), "ranking": ((RANK, "Ranker", ("answers",)),)}
"""What a project of a task must have: name, type and objects of its tags."""

WORDS = {
    "en": {"pairs": "Which answer is better?", "ranking": "Put the answers in order, the best first", TIE: "Tie",
           "answer": "Answer"},
    "zh": {"pairs": "哪个回答更好？", "ranking": "将回答排序，最好的在最前", TIE: "平局", "answer": "回答"},
}  # fmt: skip
BOX = "border: 1px solid #888; border-radius: 4px; padding: 0.5em; margin-bottom: 1em; white-space: pre-wrap"
"""Around each text; with its line breaks and spaces."""


class Data(TypedDict):
    """Data of a task. `shown`: which answer of the question stands at each place; `prompt` is for people, `messages`
    for programs."""

    question: str
    task: str
    shown: list[int]
    prompt: str
    messages: Any
    tools: NotRequired[Any]
    answer1: NotRequired[str]
    answer2: NotRequired[str]
    items: NotRequired[list[dict[str, str]]]


def interface(task: str, language: str) -> str:
    """The labelling configuration of a project, in XML. Its texts are shown as text, whatever stands in them."""
    words = WORDS[language]
    head = f"<Header value={quoteattr(words[task])}/>\n  <View style={quoteattr(BOX)}>{_text('prompt')}</View>"
    if task == "ranking":
        return f"""<View>
  {head}
  <List name="answers" value="$items"/>
  <Ranker name="{RANK}" toName="answers"/>
</View>"""
    sides = "\n    ".join(
        f"<View style={quoteattr(f'flex: 1; {BOX}')}>{_text(name)}</View>" for name in ("answer1", "answer2")
    )
    return f"""<View>
  {head}
  <Pairwise name="{BETTER}" toName="answer1,answer2"/>
  <View style="display: flex; gap: 1em">
    {sides}
  </View>
  <Choices name="{TIE}" toName="prompt" choice="single">
    <Choice value={quoteattr(words[TIE])} alias="{TIE}" hotkey="0"/>
  </Choices>
</View>"""


def _text(name: str) -> str:
    return f'<Text name="{name}" value="${name}" valueType="text"/>'


def misses(parsed: Any, task: str) -> str | None:
    """The tag that a project's configuration lacks, in words; `None` where it asks what we ask.

    Args:
        parsed: `parsed_label_config` of the project.
    """
    for name, kind, objects in CONTROLS[task]:
        tag = parsed.get(name) if isinstance(parsed, dict) else None
        if not isinstance(tag, dict) or tag.get("type") != kind or tuple(tag.get("to_name") or ()) != objects:
            return f"a {kind} named {name} to {','.join(objects)}"
    return None


def task_data(question: Question, seed: int, language: str) -> dict[str, Any]:
    """A question as the data of a task. It does not say where the answers come from."""
    shown = sides(seed, question, EVERYBODY)
    texts = [question.responses[i] for i in shown]
    fields = asked(question.prompt)
    data: dict[str, Any] = {"question": question.id, "task": question.task, "shown": list(shown)}
    data |= {"prompt": _for_people(question.prompt), "messages": fields.pop("prompt"), **fields}
    if question.task == "ranking":
        word = WORDS[language]["answer"]
        items = [{"id": str(i), "title": f"{word} {i + 1}", "body": text} for i, text in enumerate(texts)]
        return data | {"items": items}
    return data | {"answer1": texts[0], "answer2": texts[1]}


def _for_people(prompt: Prompt) -> str:
    single = len(prompt.turns) == 1
    return prompt.text if single else "\n\n".join(f"{role}: {text}" for role, text in prompt.turns)


def question_in(data: Any) -> Question | None:
    """The question of a task; `None` where the task is none of ours, or was changed since."""
    if not fits(data, Data) or data["task"] not in CONTROLS:
        return None
    if data["task"] == "ranking":
        texts = [item.get("body", "") for item in data.get("items", ())]
    else:
        texts = [data.get("answer1", ""), data.get("answer2", "")]
    if sorted(data["shown"]) != list(range(len(texts))) or len(texts) < 2:
        return None
    responses = [text for _, text in sorted(zip(data["shown"], texts, strict=True))]
    fields: Any = {"question": data["question"], "prompt": data["messages"]}
    try:
        prompt = prompt_in(fields | ({"tools": data["tools"]} if "tools" in data else {}))
    except DataError:
        return None
    question = make_question(data["task"], prompt, responses)
    return question if question.id == data["question"] and list(question.responses) == responses else None
