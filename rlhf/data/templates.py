"""The one module that makes text, tokens and masks.

A conversation is a row of pieces: literal ones that the template writes (headers, role markers, special tokens) and
contents that people or models wrote. Pieces are encoded one by one, so a boundary between prompt and response is a
boundary between tokens by construction, training and rollout share the prompt's ids, and special tokens or headers
inside somebody's text stay plain text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, Protocol

from rlhf.data.chat import render_pieces
from rlhf.data.records import Prompt
from rlhf.data.tokenizers import Tokenizer
from rlhf.errors import DataError


class PromptTooLong(DataError):
    """Even the shortest form of a prompt, its last turn's headers and one token of text, does not fit."""


@dataclass(frozen=True)
class PromptTokens:
    """A prompt's ids as training and rollout see them, and how many tokens its front lost."""

    ids: tuple[int, ...]
    cut: int = 0


@dataclass(frozen=True)
class Piece:
    """Text that the template wrote (`literal`, special tokens count) or somebody's content (they don't)."""

    text: str
    literal: bool


class Layout(Protocol):
    """How a template writes conversations down."""

    def pieces(self, turns: Sequence[tuple[str, str]]) -> list[Piece]:
        """The whole prompt up to where the answer begins; contents are one piece each, in the order of `turns`."""
        ...

    def response(self, text: str) -> str:
        """The answer's content as it follows the prompt."""
        ...

    @property
    def identity(self) -> str:
        """Text that differs where two layouts write differently."""
        ...


class PlainLayout:
    """`### Human: {prompt}` newline `### Assistant:`, then the answer with its leading space.

    The space belongs to the content: byte-level BPE glues it to the first word, so only this cut gives the ids of the
    whole text. Turns repeat on lines of their own, a system turn is a line above the first header, and end-of-text
    stands only after the last answer.
    """

    identity = "plain"
    _headers: ClassVar[dict[str, str]] = {"user": "### Human:", "assistant": "### Assistant:"}

    def pieces(self, turns: Sequence[tuple[str, str]]) -> list[Piece]:
        pieces: list[Piece] = []
        newline = ""
        for role, text in turns:
            if role == "system":
                pieces.append(Piece(text, literal=False))
            else:
                pieces.append(Piece(newline + self._headers[role], literal=True))
                pieces.append(Piece(" " + text, literal=False))
            newline = "\n"
        return [*pieces, Piece(newline + self._headers["assistant"], literal=True)]

    def response(self, text: str) -> str:
        return " " + text


class ChatLayout:
    """A tokenizer's own chat template."""

    def __init__(self, template: str, special_tokens: dict[str, str]) -> None:
        self._template = template
        self._special_tokens = special_tokens

    @property
    def identity(self) -> str:
        return json.dumps(["chat", self._template, sorted(self._special_tokens.items())])

    def pieces(self, turns: Sequence[tuple[str, str]]) -> list[Piece]:
        rendered = render_pieces(self._template, [role for role, _ in turns], self._special_tokens)
        # Everything between two contents is one literal: special tokens and the text around them go together.
        pieces = [Piece(rendered[0], literal=True)]
        for (_, text), literal in zip(turns, rendered[1:], strict=True):
            pieces += [Piece(text, literal=False), Piece(literal, literal=True)]
        return pieces

    def response(self, text: str) -> str:
        return text


class Template:
    """Encodes prompts and responses with one tokenizer and one layout.

    Attributes:
        tokenizer: what encodes the pieces.
        start_id: the token that a document starts after: begin-of-text where the tokenizer prepends one by itself,
            otherwise end-of-text.
    """

    def __init__(self, tokenizer: Tokenizer, layout: Layout) -> None:
        self.tokenizer = tokenizer
        self._layout = layout
        self._literals: dict[str, list[int]] = {}
        # A chat template writes begin-of-text itself where it wants one.
        self._prefix = list(tokenizer.prefix_ids) if isinstance(layout, PlainLayout) else []
        self.start_id = tokenizer.prefix_ids[0] if tokenizer.prefix_ids else tokenizer.eos_id

    @property
    def fingerprint(self) -> str:
        """sha256, hexadecimal; equal where prompts and responses get equal ids."""
        return hashlib.sha256(f"{self.tokenizer.fingerprint}\n{self._layout.identity}".encode()).hexdigest()

    def text(self, prompt: Prompt) -> str:
        """The prompt as one text, for people to read."""
        return "".join(piece.text for piece in self._layout.pieces(_stripped(prompt.turns)))

    def prompt(self, prompt: Prompt, limit: int | None = None) -> PromptTokens:
        """A prompt's ids, at most `limit` of them, up to where the response begins.

        Too long, it loses the front of its text: the oldest turn first, token by token, headers staying; a turn whose
        text would be eaten wholly goes with its header; of the last user turn at least one token stays.

        Raises:
            PromptTooLong: not even that fits.
        """
        turns = _stripped(prompt.turns)
        ids, _ = self._encode(turns)
        full = sum(map(len, ids))
        if limit is None or full <= limit:
            return PromptTokens(tuple(chain.from_iterable(ids)))
        for first in range(len(turns)):
            # What stood before turn `first` is gone; only this turn's own text may be cut now.
            try:
                ids, content = self._encode(turns[first:])
            except DataError:
                if first == 0:
                    raise
                continue  # some chat templates insist on starting with the user: the next turn will do
            excess = max(sum(map(len, ids)) - limit, 0)
            if excess < len(ids[content]):
                ids[content] = ids[content][excess:]
                kept = tuple(chain.from_iterable(ids))
                return PromptTokens(kept, full - len(kept))
        raise PromptTooLong(
            f"a prompt of {full} tokens can't be cut to the {limit} that are left beside its response: "
            "its headers and one token of text need more; raise data.max_length"
        )

    def response(self, text: str) -> list[int]:
        """A response's ids, end-of-text last."""
        return [*self.tokenizer.encode(self._layout.response(text.strip())), self.tokenizer.eos_id]

    def parse(self, ids: Iterable[int]) -> str:
        """The text of a sampled response: what stands before the first end-of-text, without surrounding space."""
        kept: list[int] = []
        for token in ids:
            if token == self.tokenizer.eos_id:
                break
            kept.append(int(token))
        return self.tokenizer.decode(kept).strip()

    def _encode(self, turns: Sequence[tuple[str, str]]) -> tuple[list[list[int]], int]:
        """Ids piece by piece, and which of them is the oldest turn's content."""
        pieces = self._layout.pieces(turns)
        oldest = next(number for number, piece in enumerate(pieces) if not piece.literal)
        return [self._prefix, *map(self._ids, pieces)], oldest + 1

    def _ids(self, piece: Piece) -> list[int]:
        if not piece.literal:
            return self.tokenizer.encode(piece.text)
        if piece.text not in self._literals:
            self._literals[piece.text] = self.tokenizer.encode_template(piece.text)
        return self._literals[piece.text]


def template_for(tokenizer: Tokenizer) -> Template:
    """The tokenizer's chat template where it has one, otherwise the plain `### Human:` one."""
    if tokenizer.chat_template is None:
        return Template(tokenizer, PlainLayout())
    return Template(tokenizer, ChatLayout(tokenizer.chat_template, dict(tokenizer.special_tokens)))


def _stripped(turns: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((role, text.strip()) for role, text in turns)
