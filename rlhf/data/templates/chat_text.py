"""What a chat template writes, rendered whole; what looks like a special token in a content is hidden from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, TypeAlias

from jinja2 import TemplateSyntaxError

from rlhf.data.templates.marks import NONCE, Piece, either
from rlhf.data.templates.sandbox import render
from rlhf.data.tokenizers.tokenizer import Tokenizer
from rlhf.errors import DataError

Message: TypeAlias = Mapping[str, Any]
"""`role`, `content`, and what else a turn says, such as `tool_calls`."""

SLOT = "\ue0f0answer\ue0f1"
"""Stands for an answer. Private-use characters: no template writes them, and `trim` leaves them alone."""
QUESTION = {"role": "user", "content": "How are you?"}


class Refused(DataError):
    """The template does not write such a conversation."""


def answer(text: str, extras: Mapping[str, Any] | None = None) -> Message:
    """The assistant's turn."""
    return {"role": "assistant", "content": text, **(extras or {})}


class ChatText:
    """Texts of prompts and answers, in which special tokens of contents stand by other names until `pieces`.

    Attributes:
        start: the prompt of `QUESTION`, up to where an answer begins.
        lead: what the template writes after that in front of an answer's text.
        after: what it writes after an answer's text, where nothing follows.
        end, end_id: the part of that which is learnt, the last of it the end token; and that token.
        opened: what the generation prompt says beyond what the template writes in front of an answer.

    Raises:
        DataError: the template is not valid, or its answers can't be told from what stands around them.
    """

    def __init__(self, tokenizer: Tokenizer, source: str) -> None:
        self._tokenizer, self.source = tokenizer, source
        self._hidden = {text: f"\ue0f4{NONCE}{n}\ue0f5" for n, text in enumerate(tokenizer.special_texts)}
        self.special, self._shown = either(self._hidden), either(self._hidden.values())
        self._names = {name: text for text, name in self._hidden.items()}
        self._in_parts, self._dropped = False, 0
        before, self.after = self._answered()
        self._has_prompt = self._asks()
        self.start = self.prompt([QUESTION])
        self.opened = ""
        if not before.startswith(self.start):
            common = _common(before, self.start)
            if QUESTION["content"] not in common:
                raise DataError(
                    "the chat template writes a question differently once it is answered, so answers can't be "
                    "separated from prompts; pass another one as data.chat_template"
                )
            self.opened = self.start[len(common) :]
            if not self.opened.strip():  # `<think>\n` where answers without thoughts get `<think></think>`
                self.start, self._dropped, self.opened = common, len(self.opened), ""
        self.lead = "" if self.opened else before[len(self.start) :]
        self.end, self.end_id = self._end()

    def prompt(self, messages: Sequence[Message], tools: str = "") -> str:
        """A prompt up to where the template lets an answer begin."""
        if self._has_prompt:
            asked = self.render(messages, tools, ask=True)
            return asked[: len(asked) - self._dropped]
        whole = self.render([*messages, answer(SLOT)], tools)
        before, slot, _ = whole.partition(SLOT)
        if not slot:
            raise Refused("the tokenizer's chat template does not write the answer of this conversation")
        return before

    def response(self, message: Message) -> str:
        """What follows a prompt: what the template writes of an answer, up to its end token."""
        whole = self.render([QUESTION, message])
        if whole.startswith(self.start):
            said = whole[len(self.start) :]
        elif self.opened:
            text = self._hide(str(message["content"]))
            opened = next((part for part in (self.opened, self.opened.strip()) if text.startswith(part)), "")
            said = text.removeprefix(opened) + self.after
        else:
            raise Refused("the tokenizer's chat template writes the question in front of this answer differently")
        if not said.endswith(self.after):
            raise Refused("the tokenizer's chat template does not end this answer as it ends other answers")
        return said[: len(said) - len(self.after)] + self.end

    def render(self, messages: Sequence[Message], tools: str = "", ask: bool = False) -> str:
        """The template's text of a conversation, with what looks like a special token in a content hidden."""
        templates = self._tokenizer.chat_templates
        source = templates.get("tool_use", self.source) if tools else self.source
        values: dict[str, Any] = {
            **self._tokenizer.special_tokens,
            "messages": self._hide([self._message(message) for message in messages]),
            "tools": self._hide(json.loads(tools)) if tools else None,
            "documents": None,
            "add_generation_prompt": ask,
        }
        try:
            return render(source, values)
        except Exception as error:  # a stranger's template may raise anything
            roles = " + ".join(str(message["role"]) for message in messages)
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Refused(f"the tokenizer's chat template refuses a conversation of {roles}: {reason[:300]}") from error

    def pieces(self, text: str) -> list[Piece]:
        """Special tokens in it are the template's; what was hidden is a user's text."""
        pieces: list[Piece] = []
        at = 0
        for found in self._shown.finditer(text):
            pieces += [Piece(text[at : found.start()], literal=True), Piece(self._names[found[0]], literal=False)]
            at = found.end()
        return [*pieces, Piece(text[at:], literal=True)]

    def find(self, text: str, messages: Sequence[Message], tools: str) -> list[tuple[int, int]]:
        """Where each turn's content stands in a prompt's text; (p, p) where the template wrote something else."""
        slots = [f"\ue0f0{turn}\ue0f1" for turn in range(len(messages))]
        named = [{**message, "content": slot} for message, slot in zip(messages, slots, strict=True)]
        pattern = self.prompt(named, tools)
        found: list[tuple[int, int]] = []
        at = place = 0
        for slot, message in zip(slots, messages, strict=True):
            if (after := pattern.find(slot, place)) < 0:
                found.append((at, at))
                continue
            literal, place = pattern[place:after], after + len(slot)
            if (start := text.find(literal, at)) >= 0:
                at = start + len(literal)
            content = self._hide(str(message["content"]))
            stop = next((at + len(kept) for kept in _kept(content) if kept and text.startswith(kept, at)), at)
            found.append((at, stop) if start >= 0 else (at, at))
            at = stop
        return found

    def _answered(self) -> tuple[str, str]:
        """What it writes in front of an answer, and after it."""
        for in_parts in (False, True):
            self._in_parts = in_parts
            try:
                written = self.render([QUESTION, answer(SLOT)])
            except Refused as error:
                if in_parts or isinstance(error.__cause__, TemplateSyntaxError):
                    raise
                continue
            if written.count(SLOT) == 1:
                before, _, after = written.partition(SLOT)
                return before, after
        raise DataError("the chat template does not write an answer once; pass another one as data.chat_template")

    def _message(self, message: Message) -> dict[str, Any]:
        # Templates of models that also see want contents in parts.
        parts = [{"type": "text", "text": message["content"]}] if self._in_parts else message["content"]
        return {**message, "content": parts}

    def _asks(self) -> bool:
        """Whether the template has a generation prompt."""
        asked = self.render([QUESTION], ask=True)
        try:
            return asked != self.render([QUESTION])
        except Refused:
            return True

    def _end(self) -> tuple[str, int]:
        """What is learnt after an answer, the last of it the end token; and that token."""
        tokenizer = self._tokenizer
        stops = {text: id for id in tokenizer.stop_ids if (text := tokenizer.decode([id], skip_special=False))}
        found = either({*tokenizer.special_texts, *stops}).search(self.after)
        if found is not None:
            text = self.after[: found.end()]
            return text, tokenizer.encode_pieces([Piece(found[0], literal=True)]).ids[-1]
        # Some write nothing after an answer and take the next turn's header for its end (GLM-4).
        try:
            longer = self.render([QUESTION, answer(SLOT), QUESTION])
        except Refused:
            longer = ""
        after = longer.partition(SLOT)[2]
        found = either(stops).match(after.lstrip())
        if found is not None:
            return after[: len(after) - len(after.lstrip())] + found[0], stops[found[0]]
        return self.after + tokenizer.eos_token, tokenizer.eos_id

    def _hide(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.special.sub(lambda found: self._hidden[found[0]], value)
        if isinstance(value, Mapping):
            return {key: self._hide(part) for key, part in value.items()}
        return [self._hide(part) for part in value] if isinstance(value, list) else value


def _common(first: str, second: str) -> str:
    """What both begin with."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return "".join(character for character, _ in pairs)


def _kept(content: str) -> Iterator[str]:
    """What templates leave of a content's surrounding white space."""
    yield content
    yield content.rstrip()
    yield content.lstrip()
    yield content.strip()
