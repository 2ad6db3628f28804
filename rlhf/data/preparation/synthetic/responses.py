"""Answers of a model to prompts that others wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rlhf.data.preparation.synthetic.steps import Asked, Bound, Made, Messages, Work, marked
from rlhf.data.records import Demonstration, Prompt, Record, key_of, prompt_of
from rlhf.data.splits import fraction_of
from rlhf.errors import DataError

RESPONSES = "responses"


def request(prompt: Prompt, system: str | None = None) -> Messages:
    """A conversation as the model is asked to continue it.

    Args:
        system: a message in front of it, where it has none of its own.
    """
    messages = [{"role": role, "content": text} for role, text in prompt.turns]
    own = messages[0]["role"] == "system"
    return messages if own or not system else [{"role": "system", "content": system}, *messages]


def drawn(records: Iterable[Record], count: int | None, seed: int) -> list[Record]:
    """Records of which a model can be asked the prompts, each prompt once, in their order; of more than `count` those
    whose prompts' hashes come first, so that fewer are among more.

    Raises:
        DataError: there are none. Prompts with tools are left out: a model without the tools can't call them.
    """
    found: dict[str, Record] = {}
    for record in records:
        prompt = prompt_of(record)
        if prompt is None or prompt.tools or prompt.extras or any(role == "tool" for role, _ in prompt.turns):
            continue
        if not isinstance(record, Demonstration) or not record.extras:
            found.setdefault(key_of(record), record)
    if not found:
        raise DataError("synthetic.path: holds no prompt that a model can be asked: all of them have tools")
    first = sorted(found, key=lambda key: fraction_of(f"synthetic\n{key}", seed))[:count]
    taken = {*first}
    return [record for key, record in found.items() if key in taken]


@dataclass(frozen=True)
class Responses:
    """One answer to each prompt.

    Attributes:
        model: its name, for records. system: a message in front of prompts that have none.
    """

    questions: list[Prompt]
    model: str
    system: str | None = None

    @property
    def prompts(self) -> Mapping[str, str]:
        """Texts of its prompts."""
        return {"system": self.system} if self.system else {}

    @property
    def bounds(self) -> list[Bound]:
        """All of it is known beforehand."""
        return [Bound(RESPONSES, self._requests())]

    def run(self) -> Work:
        """One step."""
        made = Made(counts={RESPONSES: {"requests": 0, "records": 0}})
        replies = yield Asked(RESPONSES, self._requests())
        for prompt, reply in zip(self.questions, replies, strict=True):
            if (answer := made.answer(RESPONSES, reply)) is not None:
                made.count(RESPONSES, "records")
                facts = {"method": RESPONSES, "model": self.model, "seeds": [prompt.place]}
                made.records.append(Demonstration(marked(prompt, self.prompts, **facts), answer))
        return made

    def _requests(self) -> list[Messages]:
        return [request(prompt, self.system) for prompt in self.questions]
