"""The text of a response while its tokens still come, and where texts that were asked for end it."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence

from rlhf.data.templates.template import Template


class GrowingText:
    """The text of a response as `Template.parse` has it, with its white space, piece by piece: a piece has complete
    characters only, whose bytes may be spread over several tokens, and a character that never gets complete is left
    out.

    Args:
        stops: texts at the first of which the response ends; what stands from there on is left out.

    Attributes:
        stopped: whether one of `stops` was found.
    """

    def __init__(self, template: Template, stops: Sequence[str] = ()) -> None:
        self.template, self.stops, self.stopped = template, tuple(stops), False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending, self._head, self._ended = "", template.head, False

    def push(self, token: int) -> str:
        """The text that is sure now, of the tokens so far; empty after the response's end."""
        self._ended = self._ended or token in self.template.stop_ids
        if self._ended:
            return ""
        self._pending += self._decoder.decode(self.template.tokenizer.token_bytes(token))
        if self._head and len(self._pending) < len(self._head) and self._head.startswith(self._pending):
            return ""
        self._pending, self._head = self._pending.removeprefix(self._head), ""
        # What may be the template's own end, or the start of a stop, waits for what comes after it.
        waits = max(overlap(self._pending, text) for text in (self.template.tail, *self.stops))
        return self._ready(len(self._pending) - waits)

    def end(self) -> str:
        """What was still waiting when the last token had come."""
        if self.stopped:
            return ""
        self._pending = self._pending.removeprefix(self._head).removesuffix(self.template.tail)
        return self._ready(len(self._pending))

    def _ready(self, count: int) -> str:
        """So many characters of those that wait, up to the first stop."""
        whole, stop = first_stop(self._pending, self.stops)
        if stop is not None:
            self.stopped = self._ended = True
            count = len(whole)
        ready, self._pending = self._pending[:count], self._pending[count:]
        return ready


def text_of(tokens: Iterable[int], template: Template) -> Iterator[str]:
    """The pieces of a response's text; the first token that ends it is the last one that is taken."""
    text = GrowingText(template)
    for token in tokens:
        if token in template.stop_ids:
            break
        if piece := text.push(token):
            yield piece
    if piece := text.end():
        yield piece


def first_stop(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The text up to the first of `stops` in it, and which one; `None` where there is none."""
    found = [(at, -len(stop), stop) for stop in stops if (at := text.find(stop)) >= 0]
    if not found:
        return text, None
    at, _, stop = min(found)
    return text[:at], stop


def overlap(text: str, tail: str) -> int:
    """Characters at a text's end that `tail` begins with."""
    return next((n for n in range(min(len(text), len(tail)), 0, -1) if text.endswith(tail[:n])), 0)
