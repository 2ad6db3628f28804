"""What happens to examples that are too long: one policy, one common cut for all answers of a row, and what it cost.

The system turn says who answers, and without it some chat templates write another one of their own; so it stays. The
oldest exchanges go whole, then the last question loses tokens from its front. An answer's end is worth more than
anything in front of it: a policy learns to stop there, and a reward model reads its score there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, Protocol

from rlhf.errors import DataError

Truncate = Literal["prompt", "response", "drop"]
"""What may be cut: the prompt; the prompt, and the end of answers; or nothing, and what is too long is left out."""
TRUNCATE: tuple[str, ...] = ("prompt", "response", "drop")

WARN_ABOVE = 0.01
"""Share of examples that were cut or dropped from which on it is said."""


class PromptTooLong(DataError):
    """Even the shortest form of a prompt does not fit: its system turn, headers, and one token of the last question.

    Attributes:
        system: whether the system turn alone is what does not fit.
    """

    def __init__(self, message: str, system: bool = False) -> None:
        super().__init__(message)
        self.system = system


class Encoded(Protocol):
    """A prompt's ids, and of each of its turns the range of them that is its text alone."""

    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def contents(self) -> Sequence[tuple[int, int]]: ...


@dataclass(frozen=True)
class PromptTokens:
    """A prompt's ids as training and rollout see them, and how many tokens it lost."""

    ids: tuple[int, ...]
    cut: int = 0


def shorten(
    turns: Sequence[Mapping[str, Any]], encode: Callable[[Sequence[Mapping[str, Any]]], Encoded], limit: int
) -> PromptTokens:
    """A prompt's ids, at most `limit` of them.

    The system turn stays. The oldest exchanges, a question with all that follows it up to the next question, go whole
    until the rest fits. Where the last one alone is too long, tokens go from the front of its question's text, then of
    the texts of its tools' results; of each, one token stays.

    Args:
        turns: each with its `role`, the last one a user's or a tool's.
        encode: gives the ids of turns; raises `DataError` for turns that the template does not write.

    Raises:
        PromptTooLong: not even that fits.
        DataError: the template does not write the conversation as it is.
    """
    found = encode(turns)
    full = len(found.ids)
    system = list(turns[:1]) if turns[0]["role"] == "system" else []
    rest = turns[len(system) :]
    kept = list(turns)
    for start in [number for number, turn in enumerate(rest) if turn["role"] == "user" and number]:
        if len(found.ids) <= limit:
            break
        try:
            found, kept = encode([*system, *rest[start:]]), [*system, *rest[start:]]
        except DataError:
            continue  # not without what stands in front of it: the next shorter one will do
    if len(found.ids) <= limit:
        return PromptTokens(tuple(found.ids), full - len(found.ids))
    ids, excess, moved = list(found.ids), len(found.ids) - limit, 0
    for turn, (start, stop) in zip(kept, found.contents, strict=True):
        if turn["role"] in ("user", "tool"):
            gone = max(0, min(excess, stop - start - 1))
            del ids[start - moved : start - moved + gone]
            excess, moved = excess - gone, moved + gone
    if excess:
        first, last = found.contents[0] if system else (0, 0)
        raise PromptTooLong(
            f"a prompt of {full} tokens can't be cut to the {limit} that are left beside its response: its "
            f"{'system turn, its ' if system else ''}headers and one token of text need {len(ids)}; raise "
            "data.max_length",
            system=0 < excess <= last - first,
        )
    return PromptTokens(tuple(ids), full - len(ids))


@dataclass(frozen=True)
class Fitted:
    """A row that fits: one prompt for all its responses, and how many of those lost their end."""

    prompt: PromptTokens
    responses: tuple[tuple[int, ...], ...]
    cut_responses: int = 0


def fit(
    whole: PromptTokens,
    shortened: Callable[[int], PromptTokens],
    responses: Sequence[Sequence[int]],
    limit: int,
    truncate: Truncate,
) -> Fitted:
    """A prompt and its responses, cut so that each path from the first token to a response's end has its place.

    With `response`, the prompt keeps its own length or half of `limit`, whichever is less, and what is longer than the
    rest loses its end: such a response has no end-of-turn token.

    Args:
        whole: the prompt. `shortened`: the same within a limit.
        limit: tokens of the prompt and the longest response.

    Raises:
        PromptTooLong: it can't be done within the policy.
    """
    longest = max(map(len, responses), default=0)
    room = limit - min(len(whole.ids), limit // 2)
    if len(whole.ids) + longest <= limit:
        return Fitted(whole, tuple(map(tuple, responses)))
    if truncate == "drop":
        raise PromptTooLong(f"{len(whole.ids) + longest} tokens, more than the {limit} of data.max_length")
    if truncate == "prompt" or longest <= room:
        return Fitted(shortened(limit - longest), tuple(map(tuple, responses)))
    kept = tuple(tuple(response[:room]) for response in responses)
    return Fitted(shortened(limit - room), kept, sum(len(response) > room for response in responses))


@dataclass
class Tally:
    """What fitting cost, over the examples of a data set."""

    kept: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    cut_prompts: int = 0
    cut_responses: int = 0
    system: int = 0

    def keep(self, length: int, fitted: Fitted) -> None:
        """Count an example that had `length` tokens on its longest path."""
        self.kept.append(length)
        self.cut_prompts += fitted.prompt.cut > 0
        self.cut_responses += fitted.cut_responses

    def drop(self, length: int, error: PromptTooLong | None = None) -> None:
        """Count an example that is left out."""
        self.dropped.append(length)
        self.system += error is not None and error.system

    def counts(self) -> dict[str, int]:
        """`cut_prompts` and `dropped_too_long`; where anything was cut or dropped, also what that means in tokens."""
        found = {"cut_prompts": self.cut_prompts, "dropped_too_long": len(self.dropped)}
        if self.cut_responses:
            found["cut_responses"] = self.cut_responses
        if self.system:
            found["dropped_system_too_long"] = self.system
        if any(found.values()):
            lengths = sorted([*self.kept, *self.dropped])
            found["length_99_percent"] = lengths[-(-99 * len(lengths) // 100) - 1]
            if self.kept and self.dropped:
                found["median_length_kept"] = round(median(self.kept))
                found["median_length_dropped"] = round(median(self.dropped))
        return found


def warning(counts: Mapping[str, int], limit: int, reserved: int = 0, what: str = "examples") -> str | None:
    """A sentence where over a hundredth of the examples was cut or dropped: a longer answer is not a worse one.

    Args:
        counts: of `make_rows`.
        limit: the tokens that an example may have. `reserved`: those of `data.max_length` that are kept for answers.
        what: the examples are called.
    """
    rows, dropped = counts.get("rows", 0), counts.get("dropped_too_long", 0)
    cut = max(counts.get("cut_prompts", 0), counts.get("cut_responses", 0))
    total = rows + dropped
    if not total or cut + dropped <= WARN_ABOVE * total:
        return None
    parts = [
        f"data.max_length: {limit + reserved} cuts {counts.get('cut_prompts', 0):,} prompts"
        f"{f' and {n:,} responses' if (n := counts.get('cut_responses')) else ''} and drops {dropped:,} of {total:,} "
        f"{what} ({(cut + dropped) / total:.1%})"
    ]
    if "median_length_dropped" in counts:
        parts.append(
            f"those dropped have {counts['median_length_dropped']:,} tokens (median), those kept "
            f"{counts['median_length_kept']:,}"
        )
    if "dropped_system_too_long" in counts:
        parts.append(f"{counts['dropped_system_too_long']:,} have a system turn that alone is too long")
    parts.append(
        f"data.max_length={counts['length_99_percent'] + reserved} keeps 99% whole, and data.truncate says what is cut"
    )
    return "; ".join(parts)
