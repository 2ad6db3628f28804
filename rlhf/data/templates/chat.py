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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_letters
from typing import Any

from rlhf.data.templates.chat_text import QUESTION, ChatText, Message, Refused, answer
from rlhf.data.templates.marks import Piece, Spans
from rlhf.data.tokenizers.tokenizer import Tokenizer
from rlhf.errors import DataError

ORDINARY = ("hello", "Hello there.", "42", "你好", "(a) x")
"""Answers before which a prompt must end in the same tokens."""

_USER, _SYSTEM = {"role": "user", "content": "What is  2+2?\n"}, {"role": "system", "content": "Be kind."}
_ANSWERS = ("It is 4.", "def f(x):\n    return x  \n", "四。\t4\n\n\n- 4")
FRONTS: tuple[list[Message], ...] = (
    [_USER],
    [_USER, answer("4"), _USER],
    [_USER, answer("4"), QUESTION, answer(_ANSWERS[1]), _USER],
    [_SYSTEM, _USER],
    [_SYSTEM, QUESTION, answer("Fine."), _USER],
)
"""What a template is tried on when it is loaded, with each of the answers; white space in odd places included."""


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
        self._tokenizer, self._text = tokenizer, ChatText(tokenizer, source)
        self.opened, self.end_id = self._text.opened, self._text.end_id
        self._moved = self._settled()
        self.head = self._text.special.sub("", self._glued + self._text.lead)
        self.tail = self._text.special.sub("", self._text.end)

    @property
    def identity(self) -> str:
        """Text that differs where two layouts write differently."""
        specials = sorted(self._tokenizer.special_tokens.items())
        return json.dumps(["chat", self._text.source, specials, self._text.end])

    def text(self, messages: Sequence[Message], tools: str = "") -> str:
        """A prompt, for people to read."""
        return "".join(piece.text for piece in self._text.pieces(self._text.prompt(messages, tools)))

    def encode(self, messages: Sequence[Message], tools: str = "", contents: bool = False) -> Encoded:
        """A prompt's ids, up to where the answer begins.

        Args:
            contents: whether `Encoded.contents` is wanted.

        Raises:
            Refused: the template does not write such a conversation.
        """
        text = self._prompt(messages, tools)
        if not contents:
            return Encoded(self._prompt_ids([text])[0])
        ranges = self._text.find(text, messages, tools)
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
        anchor, ids = self._anchor
        written = self._response(answer(text, extras))
        spans = self._encode([anchor, written])
        if spans.bounds[1] == len(ids) and spans.ids[: len(ids)] == ids:
            return spans.ids[len(ids) :]
        # It melts into what is in front of it: apart, after something that it does not melt into.
        for neighbour in ("a", "\n"):
            spans = self._encode([neighbour, written])
            if spans.bounds[1] is not None:
                return spans.ids[spans.bounds[1] :]
        return self._encode([written]).ids

    def conversation(
        self, messages: Sequence[Message], tools: str = ""
    ) -> tuple[list[int], dict[int, tuple[int, int]]] | None:
        """A whole conversation's ids, and for each of the assistant's turns, by its place, which of them it says.

        `None` where the template writes an answer otherwise in it than at its end: without its thoughts, say, or
        without an end token.
        """
        whole = self._text.render(messages, tools)
        whole = whole[: len(whole) - len(self._text.after)] + self._text.end
        parts: list[str] = []
        at = 0
        answers = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        for place in answers:
            try:
                prompt = self._prompt(messages[:place], tools)
            except Refused:
                return None
            said = self._response(messages[place])
            if len(prompt) < at or not whole.startswith(prompt) or not whole.startswith(said, len(prompt)):
                return None
            parts += [whole[at : len(prompt)], said]
            at = len(prompt) + len(said)
        spans = self._encode([*parts, whole[at:]])
        found: dict[int, tuple[int, int]] = {}
        for number, place in enumerate(answers):
            start, stop = spans.bounds[2 * number + 1], spans.bounds[2 * number + 2]
            message = dict(messages[place])
            alone = self.response(message.pop("content"), {k: v for k, v in message.items() if k != "role"})
            if start is None or stop is None or spans.ids[start:stop] != alone:
                return None
            found[place] = start, stop
        return spans.ids, found

    def check(self) -> None:
        """Compare prompts and answers with the tokens of whole conversations, several of which the template is given.

        An answer after the generation prompt of a template that opens one otherwise (`opened`) has no whole to be
        compared with.

        Raises:
            DataError: they differ, so that training would learn other tokens than `apply_chat_template` writes.
        """
        if self.opened:
            return
        responses: dict[str, list[int]] = {}  # an answer's own tokens are the same after every prompt
        for front in FRONTS:
            try:
                prompt = self.encode(front).ids
            except Refused:
                continue  # no system turn, or one question only
            for said in _ANSWERS:
                try:
                    whole = self._text.render([*front, answer(said)])
                except Refused:
                    continue
                written = whole[: len(whole) - len(self._text.after)] + self._text.end
                if said not in responses:
                    responses[said] = self.response(said)
                if prompt + responses[said] != self._encode([written]).ids:
                    roles = " + ".join(message["role"] for message in [*front, answer(said)])
                    raise DataError(
                        f"data.chat_template: the tokenizer's chat template gives a conversation of {roles} other "
                        "tokens than its prompt and its answer have; pass a template that writes both in the same way"
                    )

    @property
    def _glued(self) -> str:
        """White space at a prompt's end that goes with the answer."""
        return self._text.start[len(self._text.start) - self._moved :]

    def _prompt(self, messages: Sequence[Message], tools: str = "") -> str:
        text = self._text.prompt(messages, tools)
        return text[: len(text) - self._moved]

    def _response(self, message: Message) -> str:
        return self._glued + self._text.response(message)

    def _encode(self, parts: Sequence[str]) -> Spans:
        """Ids of texts as one, and where each begins."""
        pieces: list[Piece] = []
        firsts = []
        for part in parts:
            firsts.append(len(pieces))
            pieces += self._text.pieces(part)
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

    @cached_property
    def _anchor(self) -> tuple[str, list[int]]:
        """The end of a prompt, from its last special token on, and its ids."""
        start = self._text.start[: len(self._text.start) - self._moved]
        places = [found.start() for found in self._text.special.finditer(start)]
        anchor = start[places[-1] :] if places else start
        return anchor, self._prompt_ids([anchor])[0]

    @cached_property
    def _ordinary(self) -> str:
        return self._response(answer(ORDINARY[0]))

    def _settled(self) -> int:
        """How much white space at a prompt's end goes with the answer: none, or all where tokens would lie across."""
        start = self._text.start
        for moved in (0, len(start) - len(start.rstrip())):
            ends = set()
            for text in (*ORDINARY, *ascii_letters):
                said = start[len(start) - moved :] + self._text.lead + text
                spans = self._encode([start[: len(start) - moved], said])
                ends.add(None if spans.bounds[1] is None else tuple(spans.ids[: spans.bounds[1]]))
            if len(ends) == 1 and None not in ends:
                return moved
        raise DataError(
            "the tokenizer joins what the chat template writes in front of an answer with the answer, so no prompt "
            "ends where an answer begins; pass another template as data.chat_template"
        )
