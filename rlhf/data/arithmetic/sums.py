"""An embedded task whose answers can be checked: sums of two small numbers, generated from a seed.

Demonstrations are wrong more often than not, as an annotator's would be who knows the form of an answer and calculates
badly: what imitates them is right about as often as they are, and what is rewarded for right answers has to do better.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from rlhf.data.records import Comparison, Demonstration, Kind, Prompt, Record
from rlhf.errors import DataError

LARGEST = 9
"""Of both numbers: 81 sums, few enough for a model of a million weights to know by heart within minutes."""
PHRASINGS = (
    "What is {a} + {b}?",
    "{a} + {b} =",
    "请算{a} + {b}。",
    "{a}加{b}等于几？",
)
RIGHT = 0.4
"""Share of demonstrations that are right; a wrong one is off by one of `SLIPS`."""
SLIPS = (-10, -2, -1, 1, 2, 10)
REPEATED = 8
"""Demonstrations of each prompt."""


def sums(kind: Kind, seed: int) -> list[Record]:
    """All records of one kind, over every prompt, in random order; prompts carry the field `answer`.

    Raises:
        DataError: the task has no records of this kind.
    """
    makers: dict[str, Callable[[Prompt, int, Random], list[Record]]] = {
        "prompts": lambda prompt, right, random: [prompt],
        "demonstrations": _demonstrations,
        "comparisons": _comparisons,
    }
    if kind not in makers:
        raise DataError(f"data=sums: the embedded sums have no {kind}; they have {', '.join(makers)}")
    random = Random(f"sums {kind} {seed}")
    found = []
    for a in range(1, LARGEST + 1):
        for b in range(1, LARGEST + 1):
            for phrasing in PHRASINGS:
                prompt = Prompt((("user", phrasing.format(a=a, b=b)),), fields={"answer": str(a + b)})
                found += makers[kind](prompt, a + b, random)
    random.shuffle(found)
    return found


def _demonstrations(prompt: Prompt, right: int, random: Random) -> list[Record]:
    return [
        Demonstration(prompt, str(right if random.random() < RIGHT else _slip(right, random))) for _ in range(REPEATED)
    ]


def _comparisons(prompt: Prompt, right: int, random: Random) -> list[Record]:
    return [Comparison(prompt, str(right), str(_slip(right, random)))]


def _slip(right: int, random: Random) -> int:
    """A wrong number, never a negative one."""
    return random.choice([right + slip for slip in SLIPS if right + slip >= 0])
