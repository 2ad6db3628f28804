"""A tokenizer's backend that knows its special tokens by other names, which no text can contain.

Somebody's text is then plain text whatever it looks like, and the special tokens that a template wrote are written by
their new names. So a whole conversation is encoded at once, as `apply_chat_template` does, and tokens may form across
the places where the template's text and a content meet.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rlhf.errors import DataError

NONCE = secrets.token_hex(8)
"""Another one in each process, so that no data can hold it; no id depends on it."""


@dataclass(frozen=True)
class Piece:
    """Text that the template wrote (`literal`, special tokens count) or a user's content (they don't)."""

    text: str
    literal: bool


@dataclass(frozen=True)
class Spans:
    """Ids of pieces that were encoded as one text.

    Attributes:
        bounds: of each piece, and of the end, the number of tokens in front of it; `None` where a token lies across.
    """

    ids: list[int]
    bounds: tuple[int | None, ...]


def either(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches the longest of these texts, as tokenizers look for their special tokens."""
    ordered = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) if ordered else r"(?!)")


class MarkedBackend:
    """A copy of a backend of the `tokenizers` library with special tokens renamed.

    Raises:
        DataError: the copy would give other ids.
    """

    def __init__(self, backend: Any) -> None:
        data = json.loads(backend.to_str())
        self._names: dict[str, str] = {}
        for token in data["added_tokens"]:
            if token["special"]:
                name = f"\ue0f2{NONCE}{token['id']}\ue0f3"
                self._names[token["content"]], token["content"] = name, name
        _rename(data["model"], self._names)
        data["post_processor"] = None  # only adds tokens that a template writes itself
        try:
            self.backend = type(backend).from_str(json.dumps(data))
        except Exception as error:  # the library raises nothing narrower
            raise DataError(f"the tokenizer's special tokens can't be told from text ({error})") from error
        for special, name in self._names.items():
            if self.backend.token_to_id(name) != backend.token_to_id(special):
                raise DataError(f"the tokenizer's special token {special!r} can't be told from text")

    @property
    def specials(self) -> tuple[str, ...]:
        """Special tokens by the names that people know."""
        return tuple(self._names)

    @cached_property
    def _special(self) -> re.Pattern[str]:
        return either(self._names)

    def _marked(self, piece: Piece) -> str:
        return self._special.sub(lambda found: self._names[found[0]], piece.text) if piece.literal else piece.text

    def ids(self, text: str) -> list[int]:
        """Ids of a user's text."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode(self, pieces: Sequence[Piece]) -> Spans:
        """Ids of pieces that form one text, and where each begins."""
        texts = [self._marked(piece) for piece in pieces]
        encoding = self.backend.encode("".join(texts), add_special_tokens=False)
        places = [0]
        for text in texts:
            places.append(places[-1] + len(text))
        ids = encoding.ids
        return Spans(ids, tuple(_bound(encoding, place, places[-1], len(ids)) for place in places))


def _bound(encoding: Any, place: int, end: int, count: int) -> int | None:
    """Tokens in front of a character; `None` where a token spans it."""
    if place in (0, end):
        return count if place else 0
    # A tokenizer that drops characters it doesn't know counts the others wrongly: then nothing is certain.
    if not count or encoding.token_to_chars(count - 1) is None or encoding.token_to_chars(count - 1)[1] != end:
        return None
    before, after = encoding.char_to_token(place - 1), encoding.char_to_token(place)
    if after is None:
        return None
    return None if after == before and encoding.token_to_chars(after)[0] < place else after


def _rename(model: dict[str, Any], names: dict[str, str]) -> None:
    """Special tokens in a model's own vocabulary; what would merge into one stays apart."""
    vocab = model["vocab"]
    if isinstance(vocab, list):  # Unigram: pieces with scores
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocab]
    elif found := names.keys() & vocab.keys():
        model["vocab"] = {names.get(token, token): id for token, id in vocab.items()}
        if "merges" in model:
            pairs = (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in model["merges"])
            model["merges"] = [
                list(pair)
                for pair in pairs
                if pair[0] + pair[1] not in found and pair[0] not in found and pair[1] not in found
            ]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
