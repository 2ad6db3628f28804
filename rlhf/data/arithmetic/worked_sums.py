"""An embedded task in steps: sums of a few small numbers, worked out line by line, generated from a seed.

A solution adds one number a line, such as `3 + 5 = 8`. Whoever wrote it slips now and then and continues from the wrong
number, so that no later line can be right: labels say whether a line still leads to the right sum, as those of
Math-Shepherd do (Wang et al. 2023).
"""

from __future__ import annotations

from itertools import product
from random import Random

from rlhf.data.records import Comparison, Demonstration, Kind, Prompt, Record, StepLabelled
from rlhf.errors import DataError

TERMS = 4
LARGEST = 3
"""Numbers of a sum, and how large they are: 81 sums of at most 12, few enough to be learnt within a minute or two."""
PHRASINGS = ("What is {}?", "{} =", "请算{}。", "{}等于几？")
SLIP = 0.25
"""Probability that a line is wrong whose start is right: three in seven solutions end well."""
SLIPS = (-2, -1, 1, 2)
WRITTEN = {"demonstrations": 4, "comparisons": 2, "steps": 4, "prompts": 1}
"""Records of each prompt."""


def worked_sums(kind: Kind, seed: int) -> list[Record]:
    """All records of one kind, over every prompt, in random order; prompts carry the field `answer`.

    Raises:
        DataError: the task has no records of this kind.
    """
    if kind not in WRITTEN:
        raise DataError(f"data=worked_sums: these sums have no {kind}; they have {', '.join(WRITTEN)}")
    sums = list(product(range(1, LARGEST + 1), repeat=TERMS))
    random = Random(f"worked sums {kind} {seed}")
    found: list[Record] = []
    for terms, phrasing in product(sums, PHRASINGS):
        text = phrasing.format(" + ".join(map(str, terms)))
        prompt = Prompt((("user", text),), fields={"answer": str(sum(terms))})
        found += [_record(kind, prompt, terms, random) for _ in range(WRITTEN[kind])]
    random.shuffle(found)
    return found


def _record(kind: Kind, prompt: Prompt, terms: tuple[int, ...], random: Random) -> Record:
    if kind == "prompts":
        return prompt
    if kind == "comparisons":
        chosen, _ = _solution(terms, random, 0.0)
        rejected = chosen
        while rejected[-1] == chosen[-1]:
            rejected, _ = _solution(terms, random, SLIP)
        return Comparison(prompt, "\n".join(chosen), "\n".join(rejected))
    steps, labels = _solution(terms, random, SLIP)
    return StepLabelled(prompt, steps, labels) if kind == "steps" else Demonstration(prompt, "\n".join(steps))


def _solution(terms: tuple[int, ...], random: Random, slip: float) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Lines, and of each whether it still leads to the right sum."""
    steps, labels = list[str](), list[float]()
    so_far, right = terms[0], True
    for term in terms[1:]:
        total = so_far + term
        if right and random.random() < slip:
            total, right = random.choice([total + off for off in SLIPS if total + off > 0]), False
        steps.append(f"{so_far} + {term} = {total}")
        labels.append(float(right))
        so_far = total
    return tuple(steps), tuple(labels)
