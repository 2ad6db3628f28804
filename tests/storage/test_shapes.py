from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import pytest

from rlhf.storage.shapes import fits


class Outer(TypedDict):
    name: str
    inner: NotRequired[list[int]]


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (float, [1, 1.5, -0.0], [True, "1", None, float("nan"), float("inf"), 10**400, [1]]),
        (int, [0, -3], [True, 1.0, "1", 2**70, None]),
        (str, ["", "a"], [1, None, b"a"]),
        (bool, [True], [1, "true"]),
        (float | None, [None, 1], ["", False]),
        (list[str], [[], ["a"]], [["a", 1], "a", {}]),
        (dict[str, float], [{}, {"a": 1}], [{"a": "b"}, [], {"a": None}]),
        (
            Outer,
            [{"name": "a"}, {"name": "", "inner": [1], "more": 0}],
            [{}, {"name": 1}, {"name": "", "inner": [1.5]}],
        ),
        (Any, [None, 1, []], []),
    ],
)
def test_types(hint: Any, good: list[Any], bad: list[Any]) -> None:
    assert all(fits(value, hint) for value in good)
    assert not any(fits(value, hint) for value in bad)
