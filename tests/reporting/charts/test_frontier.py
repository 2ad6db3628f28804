from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf.reporting.charts.chart import Palette
from rlhf.reporting.charts.curves import frontier_charts
from rlhf.reporting.charts.frontier import Mean, Point, mean_of, points, t_quantile
from rlhf.reporting.gather import gather

MakeRun = Callable[..., Path]


def test_t_quantiles() -> None:
    # From a table of Student's t.
    for freedom, value in ((1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (30, 2.042)):
        assert t_quantile(freedom) == pytest.approx(value, rel=2e-3)


def test_an_interval_needs_two_values() -> None:
    assert mean_of([]) is None
    assert (one := mean_of([3.0])) is not None and one.low is None
    two = mean_of([1.0, 3.0])
    assert two is not None and two.low is not None and two.value == 2.0
    assert two.value - two.low == pytest.approx(12.706 * 1.0, rel=1e-3)


def test_a_run_during_training(make_run: MakeRun) -> None:
    found = points(gather(make_run("a")))
    assert [(p.step, p.kl) for p in found] == [(0, 0.0), (10, 1.5), (20, 3.0)]
    assert found[0].reward is not None and found[0].reward.n == 12 and found[0].over == "prompts"


def test_seeds_are_averaged(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        make_run(f"sweep/{seed}", seed=seed)
    found = points(gather(tmp_path / "sweep"))
    assert [p.step for p in found] == [0, 10, 20]
    assert found[1].reward is not None and (found[1].reward.n, found[1].over) == (3, "seeds")


def test_validations_stand_in_for_samples(make_run: MakeRun) -> None:
    folder = make_run("a")
    (folder / "samples.jsonl").unlink()
    found = points(gather(folder))
    assert [(p.kl, p.reward and p.reward.value, p.gold) for p in found] == [
        (0.0, 0.1, None),
        (1.5, 1.1, None),
        (3.0, 2.1, None),
    ]


def test_models_and_best_of_n(evaluation: Path) -> None:
    found = points(gather(evaluation))
    models = [p for p in found if p.source == "evaluation"]
    assert [(p.label, p.kl, p.gold and p.gold.value) for p in models] == [("sft", 0.0, 5.0), ("ppo", 2.0, 5.0)]
    best = [p for p in found if p.source == "best_of_n"]
    assert [(p.n, p.kl) for p in best] == [(1, 0.0), (2, 0.19), (4, 0.64)]


def test_a_run_that_ran_away_squeezes_no_other() -> None:
    def track(label: str, *kls: float) -> list[Point]:
        return [Point(label, "training", kl, step, None, Mean(kl), None) for step, kl in enumerate(kls)]

    near = [*track("a", 0, 1, 1.4), *track("b", 0, 2, 1.5)]
    away = track("c", 0, 5.9, 6.1, 40, 38)
    charts, far = frontier_charts([*near, *away], Palette())
    assert {line.label: list(line.xs) for line in charts[0].lines} == {
        "a": [0, 1, 1.4],
        "b": [0, 2, 1.5],
        "c": [0, 5.9],
    }
    assert [(p.label, p.kl) for p in far] == [("c", 40)]
    assert frontier_charts(away, Palette())[1] == [], "alone, it is what there is to see"


def test_of_many_runs_only_the_ends_show_intervals() -> None:
    mean = Mean(1.0, 0.5, 1.5)
    runs = [Point(label, "training", kl, int(kl), None, mean, None) for label in "abcd" for kl in (0, 1, 2)]
    away = Point("d", "training", 99, 3, None, mean, None)
    lines = frontier_charts([*runs, away], Palette())[0][0].lines
    assert {line.label: (line.kind, list(line.low)) for line in lines} == {
        **dict.fromkeys("abc", ("path", [None, None, 0.5])),
        "d": ("trail", [None, None, None]),
    }
    few = frontier_charts(runs[:9], Palette())[0][0].lines
    assert {(line.kind, *line.low) for line in few} == {("dots", 0.5, 0.5, 0.5)}
