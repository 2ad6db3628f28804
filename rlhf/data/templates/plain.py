"""The layout of plain models: `### Human: …` and `### Assistant: …`, each turn on lines of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rlhf.data.templates.chat import Encoded
from rlhf.data.templates.chat_text import Message, Refused
from rlhf.data.templates.marks import Piece
from rlhf.data.tokenizers.tokenizer import Tokenizer


class PlainLayout:
    """`### Human: {prompt}` newline `### Assistant:`, then the answer with its leading space and end-of-text.

    The space belongs to the content: byte-level BPE glues it to the first word, so only this cut gives the ids of the
    whole text. Turns repeat on lines of their own, a system turn is a line above the first header, and end-of-text
    stands only after the last answer. Pieces are encoded one by one, so that headers and special tokens inside
    a user's text stay plain text.
    """

    identity = "plain"
    head = " "
    tail = ""
    opened = ""
    _headers: ClassVar[dict[str, str]] = {"user": "### Human:", "assistant": "### Assistant:"}

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.end_id = tokenizer.eos_id
        self._literals: dict[str, list[int]] = {}

    def text(self, messages: Sequence[Message], tools: str = "") -> str:
        """A prompt, for people to read."""
        return "".join(piece.text for piece in self._pieces(messages, tools))

    def encode(self, messages: Sequence[Message], tools: str = "", contents: bool = False) -> Encoded:
        """A prompt's ids up to where the answer begins, and which of them are its turns' texts.

        Raises:
            Refused: there are tools in it, which this layout has no place for.
        """
        ids = list(self._tokenizer.prefix_ids)
        ranges = []
        for piece in self._pieces(messages, tools):
            start = len(ids)
            ids += self._ids(piece)
            if not piece.literal:
                ranges.append((start, len(ids)))
        return Encoded(ids, tuple(ranges))

    def response(self, text: str, extras: Mapping[str, Any] | None = None) -> list[int]:
        """An answer's ids, end-of-text last.

        Raises:
            Refused: it calls a tool.
        """
        if extras:
            raise _no_place()
        return [*self._tokenizer.encode(" " + text), self._tokenizer.eos_id]

    def conversation(self, messages: Sequence[Message], tools: str = "") -> None:
        """Only the last answer is followed by end-of-text, so that each has to be learnt alone."""
        return None

    def _pieces(self, messages: Sequence[Message], tools: str) -> list[Piece]:
        """Contents are one piece each, in the order of the turns."""
        pieces: list[Piece] = []
        newline = ""
        for message in messages:
            role, text = message["role"], message["content"]
            if tools or role == "tool" or len(message) > 2:
                raise _no_place()
            if role == "system":
                pieces.append(Piece(text, literal=False))
            else:
                pieces.append(Piece(newline + self._headers[role], literal=True))
                pieces.append(Piece(" " + text, literal=False))
            newline = "\n"
        return [*pieces, Piece(newline + self._headers["assistant"], literal=True)]

    def _ids(self, piece: Piece) -> list[int]:
        if not piece.literal:
            return self._tokenizer.encode(piece.text)
        if piece.text not in self._literals:
            self._literals[piece.text] = self._tokenizer.encode_template(piece.text)
        return self._literals[piece.text]


def _no_place() -> Refused:
    return Refused("the plain layout (### Human:) has no place for tools; pass a chat template as data.chat_template")
