from __future__ import annotations

from pathlib import Path

import pytest

from rlhf.config import TrainConfig, algorithms, keys
from rlhf.config.reference import BEGIN, END, inject, reference, show, type_name
from rlhf.config.sections import StrategyConfig

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert inject(text) == text, "run python -m rlhf.config.reference --write docs/configuration.md"


def test_every_key_is_there() -> None:
    text = reference()
    for key in keys(TrainConfig):
        assert f"| `{key.name}` |" in text
    for name, cls in algorithms().items():
        part = text.split(f"### `algo={name}`")[1].split("###")[0]
        assert all(f"| `{key.name}` |" in part for key in keys(cls, "algo."))


def test_cells_hold_no_bare_bars() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}


def test_inject_keeps_the_rest_of_the_page() -> None:
    page = inject(f"before\n{BEGIN}\nstale text\n{END}\nafter\n")
    assert page.startswith("before\n") and page.endswith(f"{END}\nafter\n") and "stale text" not in page
    with pytest.raises(ValueError, match="needs the lines"):
        inject("no markers")


def test_types_and_values_in_words() -> None:
    assert type_name(int | None) == "whole number or null"
    assert type_name(bool) == "true or false"
    kinds = {key.name: type_name(key.annotation) for key in keys(StrategyConfig)}
    assert kinds["devices"] == "whole number or text"
    assert [show(value) for value in (None, True, 1e-6, 3, "")] == ["null", "true", "1e-06", "3", '""']
