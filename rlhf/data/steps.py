"""Where the steps of an answer end in its tokens: one rule for what is learnt and for what is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate


def step_ends(ids: Sequence[int], bytes_of: Callable[[int], bytes], separator: str) -> tuple[int, ...]:
    """Places of the tokens at which the steps of a response end, in order.

    A step ends with the token that completes the separator after it, so that a score read there has seen the whole
    step. The last one ends with the response's last token, its end-of-text: what an ordinary reward model reads is the
    score of the last step. Blank steps are none, and a response has at least one.

    Args:
        ids: tokens of the response; at least one.
        bytes_of: what a token stands for; nothing for special tokens.
        separator: not empty.
    """
    places, rest = _separated((bytes_of(token) for token in ids), separator.encode())
    last = len(ids) - 1
    # White space and end-of-text after the last separator belong to the step in front of them.
    before = places if rest.strip() else places[:-1]
    return (*dict.fromkeys(place for place in before if place < last), last)


def labelled_ends(
    steps: Sequence[str], ids: Sequence[int], bytes_of: Callable[[int], bytes], separator: str
) -> tuple[int, ...] | None:
    """Where each of the steps that a response was joined of ends.

    A step that holds the separator has further ends within it, which no label is for; its label is at the last one.

    Returns:
        As many places as steps; `None` where the tokens show another number of ends, so that none can be told.
    """
    mark = separator.encode()
    # Each step alone, with a separator after it that completes its last piece.
    pieces = [len(_separated([step.strip().encode() + mark], mark)[0]) for step in steps]
    ends = step_ends(ids, bytes_of, separator)
    return tuple(ends[number - 1] for number in accumulate(pieces)) if sum(pieces) == len(ends) else None


def _separated(parts: Iterable[bytes], mark: bytes) -> tuple[list[int], bytes]:
    """Numbers of the parts that complete a separator with something but white space in front of it, and what is left
    after the last one."""
    numbers, seen = [], b""
    for number, part in enumerate(parts):
        seen += part
        while (found := seen.find(mark)) >= 0:
            if seen[:found].strip():
                numbers.append(number)
            seen = seen[found + len(mark) :]
    return numbers, seen
