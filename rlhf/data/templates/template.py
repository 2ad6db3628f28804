"""The one module that makes tokens of conversations: prompts, answers, and where each ends.

How a conversation is written is a layout's matter: a tokenizer's chat template (`chat.py`) or the plain one
(`plain.py`). Training and rollout share the prompt's ids, and special tokens or headers inside a user's text stay
plain text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from itertools import takewhile
from typing import Any, Protocol

from rlhf.data.cuts import PromptTokens, shorten
from rlhf.data.records import Demonstration, Prompt
from rlhf.data.templates.chat import ChatLayout, Encoded
from rlhf.data.templates.chat_text import Message
from rlhf.data.templates.plain import PlainLayout
from rlhf.data.tokenizers.tokenizer import Tokenizer
from rlhf.errors import DataError


class Layout(Protocol):
    """How conversations are written down. `ChatLayout` says what the attributes mean."""

    @property
    def identity(self) -> str: ...
    @property
    def end_id(self) -> int: ...
    @property
    def head(self) -> str: ...
    @property
    def tail(self) -> str: ...
    @property
    def opened(self) -> str: ...
    def text(self, messages: Sequence[Message], tools: str = "") -> str: ...
    def encode(self, messages: Sequence[Message], tools: str = "", contents: bool = False) -> Encoded: ...
    def response(self, text: str, extras: Mapping[str, Any] | None = None) -> list[int]: ...
    def conversation(
        self, messages: Sequence[Message], tools: str = ""
    ) -> tuple[list[int], dict[int, tuple[int, int]]] | None: ...


class Template:
    """Encodes prompts and responses with one tokenizer and one layout.

    Attributes:
        tokenizer: what encodes the pieces.
        start_id: the token that a document starts after: begin-of-text where the tokenizer prepends one automatically,
            otherwise end-of-text.
        end_id: the token that ends a response: the layout's own end of turn, else end-of-text.
        stop_ids: every token at which sampling stops: those that the model's files name, end-of-text, and `end_id`.
    """

    def __init__(self, tokenizer: Tokenizer, layout: Layout) -> None:
        self.tokenizer = tokenizer
        self._layout = layout
        self.start_id = tokenizer.prefix_ids[0] if tokenizer.prefix_ids else tokenizer.eos_id
        self.end_id = layout.end_id
        self.stop_ids = tuple(dict.fromkeys([*tokenizer.stop_ids, tokenizer.eos_id, layout.end_id]))

    @property
    def fingerprint(self) -> str:
        """sha256, hexadecimal; equal where prompts and responses get equal ids."""
        return hashlib.sha256(f"{self.tokenizer.fingerprint}\n{self._layout.identity}".encode()).hexdigest()

    @property
    def opened(self) -> str:
        """What the generation prompt opens and the template doesn't write for answers, such as `<think>`."""
        return self._layout.opened

    def text(self, prompt: Prompt) -> str:
        """The prompt as one text, for people to read."""
        return self._layout.text(prompt.messages(), prompt.tools)

    def prompt(self, prompt: Prompt, limit: int | None = None) -> PromptTokens:
        """A prompt's ids, at most `limit` of them, up to where the response begins.

        What is too long is cut, see `cuts.shorten`.

        Raises:
            PromptTooLong: even the shortest form doesn't fit.
        """
        encode = partial(self._layout.encode, tools=prompt.tools)
        if limit is None:
            return PromptTokens(tuple(encode(prompt.messages()).ids))
        return shorten(prompt.messages(), partial(encode, contents=True), limit)

    def response(self, text: str, extras: str = "") -> list[int]:
        """A response's ids, the end token last.

        Args:
            extras: what it says beside its text, a JSON object; see `Demonstration.extras`.
        """
        return self._layout.response(text, json.loads(extras) if extras else None)

    def conversation(self, record: Demonstration) -> tuple[list[int], dict[int, tuple[int, int]]] | None:
        """A whole conversation's ids, and for each of the assistant's turns, by its place, which of them it says.

        `None` where an answer has other tokens in it than as a response of its own: it has to be learnt alone.
        """
        return self._layout.conversation(record.messages(), record.prompt.tools)

    def ended(self, ids: Sequence[int]) -> bool:
        """Whether a sampled response came to its end."""
        return bool(ids) and ids[-1] in self.stop_ids

    @property
    def head(self) -> str:
        """What a response's tokens hold in front of its text, such as the space after `Assistant:`."""
        return self._layout.head

    @property
    def tail(self) -> str:
        """What they hold between the text and the end token."""
        return self._layout.tail

    def parse(self, ids: Iterable[int]) -> str:
        """The text of a sampled response, what stands before the first end, with all white space of its own."""
        kept = list(map(int, takewhile(lambda token: token not in self.stop_ids, ids)))
        return self._decode(kept).removeprefix(self.head).removesuffix(self.tail)

    def _decode(self, ids: list[int]) -> str:
        """Text of ids from the middle of a text: SentencePiece's decoders take a space at a text's start for theirs."""
        anchor, text = self._anchor
        return self.tokenizer.decode([*anchor, *ids]).removeprefix(text)

    @cached_property
    def _anchor(self) -> tuple[list[int], str]:
        tokenizer = self.tokenizer
        if tokenizer.decode(tokenizer.encode("  a")) == "  a":
            return [], ""
        ids = tokenizer.encode("a")
        return ids, tokenizer.decode(ids)


def template_for(tokenizer: Tokenizer) -> Template:
    """The tokenizer's chat template where it has one, otherwise the plain `### Human:` one.

    Raises:
        DataError: several chat templates and none of them the default, or one that can't be used.
    """
    if tokenizer.chat_template is not None:
        layout = ChatLayout(tokenizer, tokenizer.chat_template)
        layout.check()
        return Template(tokenizer, layout)
    if tokenizer.chat_templates:
        names = ", ".join(sorted(tokenizer.chat_templates))
        raise DataError(
            f"data.chat_template: the tokenizer {tokenizer.name} has several chat templates ({names}) and none is the "
            "default; pass one of these names"
        )
    return Template(tokenizer, PlainLayout(tokenizer))
