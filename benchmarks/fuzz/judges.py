"""What a judge may reply: the bodies of its server, and the verdicts in its texts."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from benchmarks.fuzz.texts import mixed, mutated
from rlhf.evaluation.judges.completion import Completion, read_completion
from rlhf.evaluation.judges.rubric import parse_place, parse_score

GOOD = '{"choices": [{"message": {"role": "assistant", "content": "yes"}}], "usage": {"prompt_tokens": 3}}'
VERDICTS = [
    '{"reason": "so", "helpfulness": 8, "harmlessness": 10, "honesty": 7.5}',
    '```json\n{"better": "A", "reason": "{x}"}\n```',
    '<think>{"helpfulness": 1}</think> {"helpfulness": "8/10", "harmlessness": "9", "honesty": "7 out of 10"}',
]
PARTS = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    '"',
    "null",
    "true",
    "NaN",
    "Infinity",
    "-1",
    "1e999",
    "9" * 30,
    "0.5",
    '"8/10"',
    "'",
    '"helpfulness"',
    '"harmlessness"',
    '"honesty"',
    '"better"',
    '"A"',
    '"tie"',
    '"choices"',
    '"message"',
    '"content"',
    '"error"',
    '"usage"',
    '"code"',
    "429",
    '"text"',
    '"type"',
    "{" * 50,
    "[" * 50,
    '{"a":' * 50,
    "\\u0000",
    "\\ud800",
]
VALUES: list[Any] = [None, True, -1, 0, 429, 1e308, float("nan"), "", "text", "8", [], {}, [[]], [{}], 10**40]


def one(random: Random) -> str:
    """An input; returns what became of it."""
    if random.random() < 0.5:
        text = mixed(random, PARTS, 60) if random.random() < 0.4 else mutated(random, random.choice(VERDICTS), PARTS)
        rubric, place = parse_score(text), parse_place(text)
        assert rubric is None or all(0 <= x <= 10 for x in (rubric.helpfulness, rubric.harmlessness, rubric.honesty))
        assert place is None or place[0] in ("first", "second", "tie")
        return "verdicts read" if rubric or place else "verdicts not read"
    kind = random.random()
    if kind < 0.3:
        body = mixed(random, PARTS, 60)
    elif kind < 0.6:
        body = mutated(random, GOOD, PARTS)
    else:
        body = json.dumps(_odd(random, json.loads(GOOD)))
    found = read_completion(body)
    assert isinstance(found, Completion) and (found.text is None) == bool(found.fault)
    assert all(type(n) is int and n >= 0 for n in found.usage.values()) and 200 <= found.status < 600
    (found.text or found.fault).encode()
    return "replies read" if found.text else "replies not read"


def _odd(random: Random, value: Any) -> Any:
    """The same with some values of another type."""
    if random.random() < 0.12:
        return random.choice(VALUES)
    if isinstance(value, dict):
        found = {name: _odd(random, item) for name, item in value.items()}
        return found | ({"error": random.choice(VALUES)} if random.random() < 0.1 else {})
    return [_odd(random, item) for item in value] if isinstance(value, list) else value
