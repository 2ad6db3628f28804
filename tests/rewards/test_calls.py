"""Functions of one's own: found, called with what they name, and refused with the key where they fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf.data.records import Prompt
from rlhf.errors import ConfigError
from rlhf.rewards.calls import ScoreFunction

PROMPTS = [
    Prompt((("user", "1 + 1?"),), fields={"answer": "2", "level": 3}),
    Prompt((("system", "Be brief."), ("user", "2 + 2?")), fields={"answer": "4", "level": 5}),
]
SAID = ["2", "5"]

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file with a function `score`; returns its source."""

    def written(code: str) -> str:
        (tmp_path / "mine.py").write_text(code, encoding="utf-8")
        return f"{tmp_path / 'mine.py'}:score"

    return written


def test_prompts_completions_fields_and_constants_arrive(write: Write) -> None:
    source = write(
        "def score(prompts, completions, answer, level, scale=1):\n"
        "    assert prompts == ['1 + 1?', 'system: Be brief.\\n\\nuser: 2 + 2?']\n"
        "    return [scale * lv * (c == a) for c, a, lv in zip(completions, answer, level)]\n"
    )
    assert ScoreFunction(source, {"scale": 2}, ["answer", "level", "unused"])(PROMPTS, SAID) == [6.0, 0.0]


def test_all_fields_where_the_function_takes_any(write: Write) -> None:
    source = write(
        "def score(completions, **more):\n    assert set(more) == {'prompts', 'answer'}\n    return [1, 2]\n"
    )
    assert ScoreFunction(source, {}, ["answer"])(PROMPTS, SAID) == [1.0, 2.0]


def test_a_module_beside_the_command_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_of_a_test.py").write_text("def half(completions):\n    return [0.5] * len(completions)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    function = ScoreFunction("mine_of_a_test:half", {}, [])
    assert function.name == "half" and function(PROMPTS, SAID) == [0.5, 0.5]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("[1.0]", "1 numbers for 2"),
        ("[1.0, float('nan')]", "nan"),
        ("[1.0, float('inf')]", "inf"),
        ("[1.0, None]", "list of numbers"),
        ("None", "list of numbers"),
        ("[1.0, 'x']", "list of numbers"),
        ("1 / 0", "line 2 with ZeroDivisionError"),
    ],
)
def test_what_it_returns_is_checked(write: Write, returned: str, said: str) -> None:
    function = ScoreFunction(write(f"def score(completions):\n    return {returned}\n"), {}, [])
    with pytest.raises(ConfigError, match=r"^reward\.sources: .*" + said):
        function(PROMPTS, SAID)


@pytest.mark.parametrize(
    ("code", "arguments", "key"),
    [
        ("def score(completions, answer):\n    return []", {}, r"reward\.sources: .*needs answer"),
        ("def score(completions, /):\n    return []", {}, r"reward\.sources: .*by its place"),
        ("def score(completions):\n    return []", {"scale": 1}, r"reward\.arguments\.score: .*no scale"),
        ("def other(completions):\n    return []", {}, r"reward\.sources: .*no function score"),
        ("import nothing_of_this_name", {}, r"reward\.sources: .*can't be imported"),
        ("def score(:", {}, r"reward\.sources: .*SyntaxError"),
    ],
)
def test_what_can_not_be_called_is_refused_before_training(
    write: Write, code: str, arguments: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError, match=key):
        ScoreFunction(write(code), arguments, [])


def test_a_shipped_function_is_tried_with_nothing() -> None:
    with pytest.raises(ConfigError, match=r"^reward\.sources: regex_match .*pattern"):
        ScoreFunction("regex_match", {"pattern": "("}, [])


def test_a_prompt_without_the_field_is_named_by_its_place() -> None:
    prompt = Prompt.of("1 + 1?")
    object.__setattr__(prompt, "place", "sums.jsonl:7")
    with pytest.raises(ConfigError, match=r"^reward\.sources: sums\.jsonl:7: .*answer"):
        ScoreFunction("numeric_match", {}, ["answer"])([prompt], ["2"])
