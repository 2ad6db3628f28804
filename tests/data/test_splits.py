from __future__ import annotations

import subprocess
import sys
from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data.records import Comparison, Demonstration, Prompt
from rlhf.data.splits import fraction_of, level_of, split, split_records


@given(st.lists(st.text()), st.integers(0, 2**31), st.floats(0, 0.5), st.floats(0, 0.49))
def test_parts_are_disjoint_complete_and_in_order(items: list[str], seed: int, val: float, test: float) -> None:
    parts = split(list(enumerate(items)), lambda item: item[1], seed, val, test)
    assert sorted([*parts.train, *parts.val, *parts.test]) == list(enumerate(items))
    for part in (parts.train, parts.val, parts.test):
        assert part == sorted(part)
    keys = [{text for _, text in part} for part in (parts.train, parts.val, parts.test)]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]


def test_shares_are_about_what_was_asked() -> None:
    parts = split([str(number) for number in range(5000)], str, 1, 0.1, 0.2)
    assert 420 < len(parts.val) < 580
    assert 900 < len(parts.test) < 1100


def test_the_test_part_stays_when_more_is_held_out() -> None:
    items = [str(number) for number in range(500)]
    assert split(items, str, 1, 0.0, 0.2).test == split(items, str, 1, 0.3, 0.2).test
    assert split(items, str, 1, 0.1, 0.2).test != split(items, str, 2, 0.1, 0.2).test


def test_the_same_prompt_falls_in_the_same_part_whatever_the_record() -> None:
    prompts = [Prompt.of(str(number)) for number in range(200)]
    one = split_records([Demonstration(prompt, "a") for prompt in prompts], 5, 0.2, 0.2)
    other = split_records([Comparison(prompt, "b", "c") for prompt in reversed(prompts)], 5, 0.2, 0.2)
    for part in ("train", "val", "test"):
        assert {r.prompt for r in getattr(one, part)} == {r.prompt for r in getattr(other, part)}
        assert getattr(one, part)


def test_hashes_are_the_same_in_another_process() -> None:
    code = "from rlhf.data.splits import fraction_of; print(fraction_of('a 中', 3))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(printed) == fraction_of("a 中", 3)
    assert fraction_of("a", 11) != fraction_of("1a", 1)


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.1), (0.5, 0.5), (1.0, 0.0)])
def test_impossible_fractions_are_refused(val: float, test: float) -> None:
    with pytest.raises(ValueError, match="val_fraction"):
        split(["a"], str, 0, val, test)


def test_what_a_split_has_cut_out_is_split_anew_and_the_same_for_all() -> None:
    """As `collect.py` does: its file holds prompts of the training part, or of training and validation."""
    prompts = [Prompt.of(str(number)) for number in range(400)]
    key = attrgetter("key")
    part = {"train": prompts}
    for level in range(3):
        assert level_of(map(key, part["train"]), 1, 0.1, 0.1) == level
        parts = split(part["train"], key, 1, 0.1, 0.1, level)
        assert min(len(parts.val), len(parts.test)) > 10
        part = {"train": parts.train, "val": parts.val}
        # The held-out parts can be split themselves.
        assert level_of(map(key, parts.val), 1, 0.1, 0.1) == level + 1
    assert level_of(map(key, reversed(prompts)), 1, 0.1, 0.1) == 0
    # A wider share at the first level leaves nothing for a narrower one.
    kept = split(prompts, key, 1, 0.1, 0.12).train
    assert level_of(map(key, kept), 1, 0.05, 0.05) == 1
    # Where nothing can be held out, nothing is tried.
    assert level_of([prompts[0].key] * 500, 1, 0.1, 0.1) == level_of([], 1, 0.1, 0.1) == 0


def test_levels_change_no_earlier_split() -> None:
    assert fraction_of("a", 3) == fraction_of("a", 3, level=0) != fraction_of("a", 3, level=1)
    assert round(fraction_of("a", 3), 6) == 0.318591
