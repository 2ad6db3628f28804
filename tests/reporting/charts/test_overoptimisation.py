from __future__ import annotations

from typing import Any

from rlhf.evaluation.overoptimisation.fits_table import fits_table
from rlhf.reporting.charts.chart import Palette
from rlhf.reporting.charts.overoptimisation import charts, picture


def track(name: str, method: str, fit: bool = True) -> dict[str, Any]:
    """Gold scores 5, 7, 4 at KL 0, 1 and 4, and a fit that peaks at d = 1.25."""
    at = "n" if method == "best_of_n" else "step"
    points = [
        {at: 10 * i, "kl": kl, "distance": kl**0.5, "gold": gold, "gold_gain": gold - 5, "proxy_gain": 2.0 * i}
        for i, (kl, gold) in enumerate(((0.0, 5.0), (1.0, 7.0), (4.0, 4.0)))
    ]
    points[-1] |= {"gold_low": 3.0, "gold_high": 5.0}
    law = {"alpha": 2.0, "beta": 0.8, "alpha_se": 0.1, "beta_se": None, "r2": 0.9, "peak_distance": 1.25}
    law |= {"beyond": False, "curve": {"kl": [0.0, 2.0, 4.0], "gain": [0.0, 1.5, -1.0]}}
    return {"name": name, "method": method, "points": points, "fit": law if fit else None}


def test_gold_with_its_fit_beside_proxy_in_one_colour_for_each_proxy() -> None:
    tracks = [track("small", "best_of_n"), track("large", "best_of_n"), track("small", "ppo"), track("large", "ppo")]
    gold, proxy = charts(tracks, Palette())
    assert gold.root and proxy.root, "placed by √KL"
    assert {line.label: line.colour for line in gold.lines} == {"small": 0, "large": 1}
    measured = [line for line in gold.lines if line.kind != "line"]
    assert [(line.label, line.kind) for line in measured] == [
        ("small", "diamonds"),
        ("large", "diamonds"),
        ("small", "points"),
        ("large", "points"),
    ]
    assert all((list(line.xs), list(line.ys)) == ([0, 1, 4], [0, 2, -1]) for line in measured)
    laws = [line for line in gold.lines if line.kind == "line"]
    assert [line.bound for line in laws] == [True, True, False, False], "dotted for best-of-n"
    assert all((list(line.xs), list(line.ys)) == ([0, 2, 4], [0, 1.5, -1]) for line in laws)
    assert [list(line.ys) for line in proxy.lines] == [[0, 2, 4]] * 8, "measured, and joined without a law"
    drawn = picture(tracks)
    assert drawn.count("<svg") == 1 and drawn.count("<circle") == 2 * 2 * 3 + 1, "points of both charts, and the key"
    for words in ("small", "large", "ppo, measured", "d·(α − β·d)", "small · n = 20 · KL 4.00 · -1.00"):
        assert words in drawn


def test_too_few_points_have_no_law() -> None:
    gold, _ = charts([track("small", "ppo", fit=False)], Palette())
    assert [line.kind for line in gold.lines] == ["points"]
    assert "best of n" not in picture([track("small", "ppo", fit=False)])


def test_the_table_says_what_was_reached_and_where_the_law_turns() -> None:
    head, rows = fits_table([track("small", "best_of_n"), track("large", "ppo", fit=False)])
    assert all(len(row) == len(head) for row in rows)
    assert rows[0] == [
        "small, best of 20", "4.00", "5.00", "7.00 (n = 10)", "4.00 (3.00 to 5.00)", "+4.00 sd",
        "2.00 ± 0.10", "0.80", "0.90", "1.25 (1.56)",
    ]  # fmt: skip
    assert rows[1][0] == "large, ppo, 20 steps" and rows[1][-4:] == ["–"] * 4
