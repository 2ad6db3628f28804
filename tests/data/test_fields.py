"""Fields that travel with prompts to the functions that score answers, and the data sets that have them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlhf.data.arithmetic.sums import RIGHT
from rlhf.data.dataset import load
from rlhf.data.formats.parse import parse
from rlhf.data.readers import FieldError, read
from rlhf.data.records import Comparison, Demonstration, Prompt, as_prompts, key_of
from rlhf.data.rows import make_rows
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tiny import tiny_tokenizer
from rlhf.errors import DataError
from rlhf.rewards.functions import numeric_match

GSM8K = {
    "question": "Natalia sold 48 clips in April, and half as many in May. How many in all?",
    "answer": "In May she sold 48/2 = <<48/2=24>>24.\nIn all 48+24 = <<48+24=72>>72.\n#### 72",
}
SHARED = Path(__file__).parents[3] / "shared" / "data" / "gsm8k" / "test.jsonl.gz"


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_they_travel_by_the_names_that_are_asked_for(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"prompt": "1+1", "solution": 2, "tests": ["a\nb"]})
    found = read(path, "prompts", fields={"answer": "solution", "tests": "tests"}).items
    assert found[0].fields == {"answer": 2, "tests": ["a\nb"]}
    rows, _ = make_rows(found, "prompts", template_for(tiny_tokenizer()), 64)
    assert rows[0].source is found[0]


def test_what_is_not_asked_for_stays_behind_or_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"prompt": "1+1", "answer": "2", "tests": ["a\nb"]})
    with pytest.raises(FieldError, match="tests"):
        read(path, "prompts")
    assert read(path, "prompts", ignore=["tests"]).items[0].fields == {}


def test_a_prompt_without_one_is_a_bad_line(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"prompt": "1+1", "answer": "2"}, {"prompt": "1+2"})
    with pytest.raises(DataError, match=r"a\.jsonl:2: answer is missing.*data\.fields"):
        read(path, "prompts", fields={"answer": "answer"})
    found = read(path, "prompts", "skip", fields={"answer": "answer"})
    assert found.counts["missing_field"] == 1 and len(found.items) == 1


def test_other_kinds_may_lack_them_and_understand_them(tmp_path: Path) -> None:
    """A verdict such as `answer` stops a run that imitates, unless it is passed on."""
    path = lines(tmp_path / "a.jsonl", {"prompt": "1+1", "response": "2", "answer": "2"})
    with pytest.raises(FieldError, match="answer"):
        read(path, "demonstrations")
    found = read(path, "demonstrations", fields={"answer": "answer", "level": "level"}).items
    assert found[0].response == "2" and found[0].prompt.fields == {"answer": "2"}


def test_they_are_no_part_of_what_makes_prompts_equal() -> None:
    one, other = Prompt((("user", "hi"),), fields={"a": 1}), Prompt.of("hi")
    assert one == other and hash(one) == hash(other) and key_of(one) == key_of(other)
    assert as_prompts([one, other])[0].fields == {"a": 1}


def test_gsm8k_is_read_without_its_calculator() -> None:
    (demonstration,) = parse(GSM8K, "demonstrations", "gsm8k")
    assert isinstance(demonstration, Demonstration)
    assert demonstration.response == "In May she sold 48/2 = 24.\nIn all 48+24 = 72.\n#### 72"
    (prompt,) = parse(GSM8K, "prompts", "gsm8k", wanted={"answer": "answer"})
    assert isinstance(prompt, Prompt) and prompt.text == GSM8K["question"]
    assert numeric_match(["72", "24"], [prompt.fields["answer"]] * 2) == [1.0, 0.0]
    (bad,) = parse({"question": "hi", "answer": "yo"}, "prompts", "gsm8k")
    assert "####" in str(bad)


@pytest.mark.skipif(not SHARED.exists(), reason="the published file is not here")
def test_every_published_answer_is_right_by_its_own_measure() -> None:
    prompts = read(SHARED, "prompts", format="gsm8k", fields={"answer": "answer"}).items
    answers = [prompt.fields["answer"] for prompt in prompts]
    assert len(prompts) == 1319 and set(numeric_match(answers, answers)) == {1.0}
    assert sum(numeric_match(answers[1:], answers[:-1])) < 100


class TestSums:
    def test_the_same_seed_makes_the_same(self) -> None:
        for kind in ("prompts", "demonstrations", "comparisons"):
            one, two = (load(kind, source="sums", seed=3) for _ in range(2))
            assert one.train == two.train and one.val == two.val
        assert load("prompts", source="sums", seed=4).train != load("prompts", source="sums", seed=3).train

    def test_answers_are_right_and_demonstrations_mostly_are_not(self) -> None:
        prompts = {p.key: p for p in load("prompts", source="sums").train if isinstance(p, Prompt)}
        assert all(eval_sum(p.text) == int(p.fields["answer"]) for p in prompts.values())
        told = [d for d in load("demonstrations", source="sums").train if isinstance(d, Demonstration)]
        right = sum(int(d.response) == eval_sum(d.prompt.text) for d in told) / len(told)
        assert RIGHT - 0.03 < right < RIGHT + 0.03
        # Yet no wrong number is as frequent as the right one: what is rewarded can find it.
        off = Counter(int(d.response) - eval_sum(d.prompt.text) for d in told)
        assert off.most_common(1)[0][0] == 0 and max(n for by, n in off.items() if by) / len(told) < 0.12
        assert min(int(d.response) for d in told) >= 0

    def test_comparisons_prefer_the_right_one_and_there_are_no_others(self) -> None:
        for pair in load("comparisons", source="sums").train[:50]:
            assert isinstance(pair, Comparison)
            right = eval_sum(pair.prompt.text)
            assert int(pair.chosen) == right != int(pair.rejected)
        with pytest.raises(DataError, match=r"data=sums.*documents"):
            load("documents", source="sums")

    def test_kinds_hold_out_the_same_prompts(self) -> None:
        held = {
            kind: load(kind, source="sums", val_fraction=0.1, test_fraction=0.1)
            for kind in ("prompts", "demonstrations")
        }
        trained = {key_of(record) for record in held["demonstrations"].train}
        assert not trained & {key_of(record) for record in held["prompts"].val + held["prompts"].test}


def eval_sum(text: str) -> int:
    """The sum of the two numbers in a question."""
    numbers = "".join(c if c.isdigit() else " " for c in text).split()
    assert len(numbers) == 2, text
    return sum(map(int, numbers))
