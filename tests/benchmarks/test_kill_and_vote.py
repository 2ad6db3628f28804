"""The page's server killed while people vote: none is lost, none counts twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kill_and_vote import measure

pytest.importorskip("uvicorn", reason="the page needs Uvicorn: pip install -e '.[web]'")


@pytest.mark.parametrize(
    ("votes", "kills"),
    [pytest.param(100, 2, marks=pytest.mark.ci), pytest.param(10_000, 20, marks=pytest.mark.slow)],
)
def test_no_vote_is_lost_and_none_counts_twice(tmp_path: Path, votes: int, kills: int) -> None:
    found = measure(votes, kills, people=4, seed=1, folder=tmp_path)
    assert (found["votes"], found["acknowledged"]) == (votes, votes) and found["retries"] >= kills
