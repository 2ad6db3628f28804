"""Random texts that are near to what is read, and far from it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

ODD = [
    "\x00",
    "\x1b[2J",
    "\ud800",
    "\u2028",
    "\ufeff",
    "é",
    "中文",
    "👩‍👩‍👧",
    "\u202e",
    "\\",
    '"',
    "'",
    "\n",
    "\r",
    "\t",
    " ",
    "$",
    "%",
]


def mixed(random: Random, parts: Sequence[str], most: int) -> str:
    """Parts in any order, odd characters among them."""
    found = [random.choice(parts if random.random() < 0.85 else ODD) for _ in range(random.randint(0, most))]
    return "".join(found)


def mutated(random: Random, text: str, parts: Sequence[str]) -> str:
    """A text with some pieces taken out, doubled, moved or replaced."""
    for _ in range(random.randint(0, 3)):
        a, b = sorted(random.randrange(len(text) + 1) for _ in range(2))
        piece = random.choice([text[a:b] * 2, "", random.choice(parts), random.choice(ODD), text[b : b + 9]])
        text = text[:a] + piece + text[b:]
        if len(text) > 4000:
            text = text[:4000]
    return text
