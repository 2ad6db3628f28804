"""A tokenizer's own chat template: what it writes around an answer, and the tokens of prompts and answers.

A conversation is rendered whole, with its real contents, since templates change them (they trim, or cut thoughts out of
earlier answers). What a content holds that looks like a special token is hidden from the template and encoded as text.

Where an answer begins is taken from the template's generation prompt, or, where it has none, from what it writes in
front of an answer. The tokens of the whole are cut there; white space that the tokenizer glues to the answer's first
word (`ASSISTANT: hello` is `:`, ` hello`) goes with the answer. An answer that itself begins with white space may melt
into that in front of it: it is then encoded apart, so that every answer follows the tokens that sampling starts from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any, TypeAlias

from rlhf.data.marks import NONCE, Piece, Spans, either
from rlhf.data.sandbox import render
from rlhf.data.tokenizers import Tokenizer
from rlhf.errors import DataError

Message: TypeAlias = Mapping[str, Any]
"""`role`, `content`, and what else a turn says, such as `tool_calls`."""

SLOT = "\ue0f0answer\ue0f1"
"""Stands for an answer. Private-use characters: no template writes them, and `trim` leaves them alone."""
ORDINARY = ("hello", "Hello there.", "42", "你好", "(a) x")
"""Answers before which a prompt must end in the same tokens."""
QUESTION = {"role": "user", "content": "How are you?"}


class Refused(DataError):
    """The template does not write such a conversation."""


@dataclass(frozen=True)
class Encoded:
    """A prompt's ids.

    Attributes:
        contents: of each turn, the range of ids that are its text alone, which may be cut; empty where the template
            wrote something else than the text.
    """

    ids: list[int]
    contents: tuple[tuple[int, int], ...] = ()


class ChatLayout:
    """Writes conversations with a chat template.

    Attributes:
        end_id: the token that ends an answer: the template's own, else end-of-text.
        head, tail: what an answer's tokens hold in front of its text, and after it up to the end token.
        opened: what the generation prompt says beyond what the template writes in front of an answer, such as
            `<think>`; empty for most. Answers are then learnt as they follow it.

    Raises:
        DataError: the template is not valid, or its answers can't be told from what stands around them.
    """

    def __init__(self, tokenizer: Tokenizer, source: str) -> None:
        self._tokenizer, self._source = tokenizer, source
        self._hidden = {text: f"\ue0f4{NONCE}{n}\ue0f5" for n, text in enumerate(tokenizer.special_texts)}
        self._special, self._shown = either(self._hidden), either(self._hidden.values())
        self._names = {name: text for text, name in self._hidden.items()}
        self._moved = self._dropped = 0
        self._in_parts = False
        before, self._after = self._answered()
        self._has_prompt = self._asks()
        self._start = self._written([QUESTION])
        self.opened = ""
        if not before.startswith(self._start):
            common = "".join(
                a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, self._start, strict=False))
            )
            if QUESTION["content"] not in common:
                raise DataError(
                    "the chat template writes a question otherwise once it is answered, so answers can't be told from "
                    "prompts; pass another one as data.chat_template"
                )
            self.opened = self._start[len(common) :]
            if not self.opened.strip():  # `<think>\n` where answers without thoughts get `<think></think>`
                self._start, self._dropped, self.opened = common, len(self.opened), ""
        self._end_text, self.end_id = self._end()
        self._settle()
        lead = "" if self.opened else before[len(self._start) :]
        self.head = self._text_of(self._start[len(self._start) - self._moved :] + lead)
        self.tail = self._text_of(self._end_text)

    @property
    def identity(self) -> str:
        """Text that differs where two layouts write differently."""
        specials = sorted(self._tokenizer.special_tokens.items())
        return json.dumps(["chat", self._source, specials, self._end_text])

    def text(self, messages: Sequence[Message], tools: str = "") -> str:
        """A prompt, for people to read."""
        return "".join(piece.text for piece in self._pieces(self._written(messages, tools)))

    def encode(self, messages: Sequence[Message], tools: str = "", contents: bool = False) -> Encoded:
        """A prompt's ids, up to where the answer begins.

        Args:
            contents: whether `Encoded.contents` is wanted.

        Raises:
            Refused: the template does not write such a conversation.
        """
        text = self._prompt_text(messages, tools)
        if not contents:
            return Encoded(self._prompt_ids([text])[0])
        ranges = self._find(text, messages, tools)
        parts, at = [], 0
        for start, stop in ranges:
            parts += [text[at:start], text[start:stop]]
            at = stop
        ids, bounds = self._prompt_ids([*parts, text[at:]])
        found = []
        for turn in range(len(ranges)):
            first, last = bounds[2 * turn + 1], bounds[2 * turn + 2]
            found.append((first, last) if first is not None and last is not None else (0, 0))
        return Encoded(ids, tuple(found))

    def response(self, text: str, extras: Mapping[str, Any] | None = None) -> list[int]:
        """An answer's ids as they follow any prompt, the end token last.

        Args:
            extras: what the answer says beside its text, such as `tool_calls`.

        Raises:
            Refused: the template does not write such an answer.
        """
        return self._response_ids(self._response_text({"role": "assistant", "content": text, **(extras or {})}))

    # What the template writes.

    def _answered(self) -> tuple[str, str]:
        """What it writes in front of an answer, and after it."""
        for in_parts in (False, True):
            self._in_parts = in_parts
            try:
                written = self._render([QUESTION, {"role": "assistant", "content": SLOT}])
            except Refused:
                if in_parts:
                    raise
                continue
            if written.count(SLOT) == 1:
                before, _, after = written.partition(SLOT)
                return before, after
        raise DataError("the chat template does not write an answer once; pass another one as data.chat_template")

    def _render(self, messages: Sequence[Message], tools: str = "", ask: bool = False) -> str:
        """The template's text of a conversation, with what looks like a special token in a content hidden."""
        templates = self._tokenizer.chat_templates
        source = templates.get("tool_use", self._source) if tools else self._source
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

    def _message(self, message: Message) -> dict[str, Any]:
        # Templates of models that also see want contents in parts.
        parts = [{"type": "text", "text": message["content"]}] if self._in_parts else message["content"]
        return {**message, "content": parts}

    def _asks(self) -> bool:
        """Whether the template has a generation prompt."""
        asked = self._render([QUESTION], ask=True)
        try:
            return asked != self._render([QUESTION])
        except Refused:
            return True

    def _written(self, messages: Sequence[Message], tools: str = "") -> str:
        """A prompt up to where the template lets an answer begin."""
        if self._has_prompt:
            asked = self._render(messages, tools, ask=True)
            return asked[: len(asked) - self._dropped]
        whole = self._render([*messages, {"role": "assistant", "content": SLOT}], tools)
        before, slot, _ = whole.partition(SLOT)
        if not slot:
            raise Refused("the tokenizer's chat template does not write the answer of this conversation")
        return before

    def _prompt_text(self, messages: Sequence[Message], tools: str = "") -> str:
        text = self._written(messages, tools)
        return text[: len(text) - self._moved]

    def _response_text(self, message: Message) -> str:
        """What follows the prompt: what the template writes of an answer, up to its end token."""
        whole = self._render([QUESTION, message])
        if whole.startswith(self._start):
            said = whole[len(self._start) :]
        elif self.opened:
            text = self._hide(str(message["content"]))
            opened = next((part for part in (self.opened, self.opened.strip()) if text.startswith(part)), "")
            said = text.removeprefix(opened) + self._after
        else:
            raise Refused("the tokenizer's chat template writes a question otherwise in front of this answer")
        if not said.endswith(self._after):
            raise Refused("the tokenizer's chat template does not end this answer as it ends others")
        said = said[: len(said) - len(self._after)] + self._end_text
        return self._start[len(self._start) - self._moved :] + said

    def _end(self) -> tuple[str, int]:
        """What is learnt after an answer, the last of it the end token; and that token."""
        tokenizer = self._tokenizer
        stops = {text: id for id in tokenizer.stop_ids if (text := tokenizer.decode([id], skip_special=False))}
        found = either({*tokenizer.special_texts, *stops}).search(self._after)
        if found is not None:
            text = self._after[: found.end()]
            return text, tokenizer.encode_pieces([Piece(found[0], literal=True)]).ids[-1]
        # Some write nothing after an answer and take the next turn's header for its end (GLM-4).
        try:
            longer = self._render([QUESTION, {"role": "assistant", "content": SLOT}, QUESTION])
        except Refused:
            longer = ""
        after = longer.partition(SLOT)[2]
        found = either(stops).match(after.lstrip())
        if found is not None:
            return after[: len(after) - len(after.lstrip())] + found[0], stops[found[0]]
        return self._after + tokenizer.eos_token, tokenizer.eos_id

    # Tokens.

    def _hide(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._special.sub(lambda found: self._hidden[found[0]], value)
        if isinstance(value, Mapping):
            return {key: self._hide(part) for key, part in value.items()}
        return [self._hide(part) for part in value] if isinstance(value, list) else value

    def _pieces(self, text: str) -> list[Piece]:
        """Special tokens in it are the template's; what was hidden is somebody's text."""
        pieces: list[Piece] = []
        at = 0
        for found in self._shown.finditer(text):
            pieces += [Piece(text[at : found.start()], literal=True), Piece(self._names[found[0]], literal=False)]
            at = found.end()
        return [*pieces, Piece(text[at:], literal=True)]

    def _encode(self, parts: Sequence[str]) -> Spans:
        """Ids of texts as one, and where each begins."""
        pieces: list[Piece] = []
        firsts = []
        for part in parts:
            firsts.append(len(pieces))
            pieces += self._pieces(part)
        spans = self._tokenizer.encode_pieces(pieces)
        return Spans(spans.ids, (*(spans.bounds[first] for first in firsts), len(spans.ids)))

    def _prompt_ids(self, parts: Sequence[str]) -> tuple[list[int], tuple[int | None, ...]]:
        """Ids of a prompt as they stand in front of an ordinary answer, and where its parts begin."""
        spans = self._encode([*parts, self._ordinary])
        end = spans.bounds[-2]
        if end is None:  # no text of the template's own separates this prompt from its answer
            spans = self._encode(parts)
            return spans.ids, spans.bounds
        return spans.ids[:end], spans.bounds[:-1]

    def _response_ids(self, text: str) -> list[int]:
        anchor, ids = self._anchor
        spans = self._encode([anchor, text])
        if spans.bounds[1] == len(ids) and spans.ids[: len(ids)] == ids:
            return spans.ids[len(ids) :]
        # It melts into what is in front of it: apart, after something that it does not melt into.
        for neighbour in ("a", "\n"):
            spans = self._encode([neighbour, text])
            if spans.bounds[1] is not None:
                return spans.ids[spans.bounds[1] :]
        return self._encode([text]).ids

    @cached_property
    def _anchor(self) -> tuple[str, list[int]]:
        """The end of a prompt, from its last special token on, and its ids."""
        start = self._start[: len(self._start) - self._moved]
        places = [found.start() for found in either(self._hidden).finditer(start)]
        anchor = start[places[-1] :] if places else start
        return anchor, self._prompt_ids([anchor])[0]

    @cached_property
    def _ordinary(self) -> str:
        return self._response_text({"role": "assistant", "content": ORDINARY[0]})

    def _settle(self) -> None:
        """How much white space at a prompt's end goes with the answer: none, or all where tokens would lie across."""
        for moved in (0, len(self._start) - len(self._start.rstrip())):
            self._moved = moved
            ends = set()
            for answer in ORDINARY:
                text = self._response_text({"role": "assistant", "content": answer})
                spans = self._encode([self._start[: len(self._start) - moved], text])
                ends.add(None if spans.bounds[1] is None else tuple(spans.ids[: spans.bounds[1]]))
            if len(ends) == 1 and None not in ends:
                return
        raise DataError(
            "the tokenizer joins what the chat template writes in front of an answer with the answer, so no prompt "
            "ends where an answer begins; pass another template as data.chat_template"
        )

    def _find(self, text: str, messages: Sequence[Message], tools: str) -> list[tuple[int, int]]:
        """Where each turn's content stands in a prompt's text; (p, p) where the template wrote something else."""
        slots = [f"\ue0f0{turn}\ue0f1" for turn in range(len(messages))]
        named = [{**message, "content": slot} for message, slot in zip(messages, slots, strict=True)]
        pattern = self._prompt_text(named, tools)
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

    def _text_of(self, written: str) -> str:
        """What remains of a template's text once special tokens are left out."""
        return self._special.sub("", written)


def _kept(content: str) -> Iterator[str]:
    """What templates leave of a content's surrounding white space."""
    yield content
    yield content.rstrip()
    yield content.lstrip()
    yield content.strip()
