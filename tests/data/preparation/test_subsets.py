from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf.data.dataset import Dataset, load
from rlhf.data.preparation.subsets import fewer_examples, fewer_responses
from rlhf.data.records import Comparison, Prompt, Ranking, Record, key_of

Load = Callable[..., Dataset]


@pytest.fixture
def preferences(tmp_path: Path) -> Load:
    """Rankings of six answers, two of them tied, and every tenth nothing but ties."""
    lines: list[dict[str, Any]] = []
    for n in range(300):
        ranks = [1] * 6 if n % 10 == 0 else [3, 1, 4, 1, 5, 2]
        lines.append({"prompt": f"q{n}", "responses": [{"text": f"a{n}-{i}", "rank": r} for i, r in enumerate(ranks)]})
    path = tmp_path / "preferences.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return lambda **more: load(
        "comparisons", source="file", path=str(path), val_fraction=0.1, test_fraction=0.1, **more
    )


def test_fewer_examples_are_among_more_and_nothing_else_changes(preferences: Load) -> None:
    whole = preferences()
    parts = {n: preferences(train_examples=n) for n in (10, 40, 160)}
    for n, part in parts.items():
        assert len(part.train) == part.counts["train"] == n
        assert (part.val, part.test) == (whole.val, whole.test)
        assert all(isinstance(record, Ranking) and record.pairs() for record in part.train), "a tie teaches nothing"
        assert [record for record in whole.train if record in part.train] == part.train, "in the order of the file"
    assert set(parts[10].train) < set(parts[40].train) < set(parts[160].train)
    assert preferences(train_examples=10).train == parts[10].train
    other = preferences(train_examples=10, seed=2)
    assert {key_of(r) for r in other.train} != {key_of(r) for r in parts[10].train}
    assert len(preferences(train_examples=10_000).train) == sum(bool(r.pairs()) for r in whole.train)  # type: ignore[union-attr]


def test_a_single_comparison_of_each_ranking(preferences: Load) -> None:
    whole, part = preferences(), preferences(train_responses=2)
    assert part.val == whole.val, "held-out rankings stay whole"
    first: list[tuple[int, ...]] = []
    for before, after in zip(whole.train, part.train, strict=True):
        assert isinstance(before, Ranking) and isinstance(after, Ranking)
        places = tuple(before.responses.index(text) for text in after.responses)
        assert len(places) == 2 and places == tuple(sorted(places)), "in the order of the ranking"
        assert after.ranks == tuple(before.ranks[i] for i in places)
        if before.pairs():
            assert len(after.pairs()) == 1
            first.append(places)
    assert len(set(first)) > 10, "drawn anew for each prompt"
    # The answers that a ranking keeps are among those that it keeps of more.
    for two, four in zip(part.train, preferences(train_responses=4).train, strict=True):
        assert isinstance(two, Ranking) and isinstance(four, Ranking)
        assert set(two.responses) < set(four.responses) and len(four.responses) == 4


def test_what_has_no_more_answers_stays_as_it_is() -> None:
    records: list[Record] = [
        Comparison(Prompt.of("a"), "x", "y"),
        Ranking(Prompt.of("b"), ("x", "y"), (2, 1), scores=(1.0, 3.0)),
    ]
    assert fewer_responses(records, 2, seed=1) == records
    three = Ranking(Prompt.of("c"), ("x", "y", "z"), (2, 1, 1), scores=(1.0, 3.0, 3.0))
    (found,) = fewer_responses([three], 2, seed=1)
    assert found.scores == tuple(three.scores[three.responses.index(text)] for text in found.responses)
    # Two comparisons of one prompt are two examples.
    twice = [Comparison(Prompt.of("a"), "x", "y"), Comparison(Prompt.of("a"), "x", "z")]
    assert fewer_examples(twice, 1, seed=1) == twice[:1]
