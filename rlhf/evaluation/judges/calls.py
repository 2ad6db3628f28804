"""Calls of an endpoint: their answers on disk, what they will cost, and what they did."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.storage.disk import reason_of

log = logging.getLogger("rlhf")

Messages = list[dict[str, str]]
"""`[{"role": …, "content": …}]`, as in the request."""

BYTES_PER_TOKEN = 4
"""Roughly true of English (4 letters a token) and of Chinese (3 bytes a character) with present vocabularies."""
TOKENS_PER_MESSAGE = 4
"""Role and separators."""


def tokens_of(messages: Messages) -> int:
    """About as many as a request has."""
    return sum(-(-len(m["content"].encode()) // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE for m in messages)


class Cache:
    """Answers by the hash of their request, a file each, so that nothing is paid for twice.

    Args:
        folder: made at the first answer.
        write: puts a text into a file, whole or not at all.
        section: where its key stands, for messages.
    """

    def __init__(self, folder: Path, write: Callable[[Path, str], None], section: str = "evaluation.endpoint") -> None:
        self.folder, self.write, self.section = folder, write, section
        self._warned = False

    def path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.json"

    def read(self, digest: str) -> str | None:
        """The answer; `None` where there is none that can be read, or another one than was kept."""
        content = self._content(digest)
        return None if content is None else content["answer"]

    def was_cut(self, digest: str) -> bool:
        """Whether the answer that is kept ends where the limit of its tokens ended it."""
        return (self._content(digest) or {}).get("cut") is True

    def _content(self, digest: str) -> dict[str, Any] | None:
        try:
            content = json.loads(self.path(digest).read_text(encoding="utf-8"))
            answer, kept = content["answer"], content.get("answer_sha256")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        if not isinstance(answer, str) or (kept is not None and kept != _sha256(answer)):
            return None
        return dict(content)

    def keep(self, digest: str, content: Mapping[str, Any]) -> None:
        """Write an answer; where the disk can't take it, warn once and continue, since the answer itself is there."""
        content = {**content, "answer_sha256": _sha256(content["answer"])}
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        try:
            self.path(digest).parent.mkdir(parents=True, exist_ok=True)
            self.write(self.path(digest), text)
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning(
                    "%s.cache: %s can't be written (%s): the next run will ask and pay for these answers again",
                    self.section,
                    self.folder,
                    reason_of(error),
                )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Prices:
    """Prices of a million tokens, in any currency; `None`: unknown."""

    input: float | None = None
    output: float | None = None

    def cost(self, tokens_in: float, tokens_out: float) -> float | None:
        """`None` without prices."""
        if self.input is None and self.output is None:
            return None
        return (tokens_in * (self.input or 0) + tokens_out * (self.output or 0)) / 1e6


@dataclass(frozen=True)
class Estimate:
    """What is still to be asked: tokens in are estimated from bytes, tokens out are the most that can come."""

    calls: int
    cached: int
    tokens_in: int
    tokens_out: int
    cost: float | None

    def __str__(self) -> str:
        price = "" if self.cost is None else f", at most {self.cost:.4g} by the prices given"
        return (
            f"{self.calls:,} calls ({self.cached:,} more are answered already), about {self.tokens_in:,} tokens in, "
            f"at most {self.tokens_out:,} out{price}"
        )


@dataclass
class Used:
    """What was really spent."""

    calls: int = 0
    cached: int = 0
    failed: int = 0
    refused: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        with self._lock:
            for name, n in counts.items():
                setattr(self, name, getattr(self, name) + n)

    def count(self, usage: Mapping[str, int]) -> None:
        """Tokens, by the names that servers have for them."""
        self.add(tokens_in=usage.get("prompt_tokens", 0), tokens_out=usage.get("completion_tokens", 0))

    def record(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}
