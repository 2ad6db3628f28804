"""Rounds of training, by hand."""

from __future__ import annotations

import math

import pytest

from rlhf.config import EvaluateSettings
from rlhf.config.rules.evaluation import check_rounds
from rlhf.errors import ConfigError
from rlhf.evaluation.rounds import point, rounds_table
from rlhf.reporting.charts.rounds import charts
from rlhf.reporting.charts.svg import draw


def test_the_proxys_gain_is_in_its_own_standard_deviations() -> None:
    """Scores at the start 0, 2, 4 (standard deviation 2); of the model 3, 3, 6: gains 3, 1, 2, which are 1 on average
    in that unit, with standard deviation 1/2 and so an interval of ±1.96 · 0.5/√3. A prompt without a score counts
    nowhere."""
    found = point(2, "b", [6.0, 8.0, None, 7.0], [3.0, 3.0, None, 6.0], [0.0, 2.0, 9.0, 4.0], 1.5, {"agreement": 0.7})
    assert (found["round"], found["name"], found["kl"], found["agreement"]) == (2, "b", 1.5, 0.7)
    assert found["proxy_gain"] == pytest.approx(1.0)
    assert found["proxy_gain_high"] == pytest.approx(1 + 1.959964 * 0.5 / math.sqrt(3))
    assert found["gold"] == pytest.approx(7.0)
    assert found["gold_low"] == pytest.approx(7 - 1.959964 / math.sqrt(3)), "standard deviation 1"


def test_what_is_not_known_is_left_out() -> None:
    found = point(1, "a", [None], [None], [None], None, {})
    assert found == {"round": 1, "name": "a"}
    head, rows = rounds_table([found])
    assert rows == [["1", "a", *["–"] * (len(head) - 2)]]
    assert charts([found]) == []


def test_one_chart_for_each_thing_that_is_measured() -> None:
    points = [
        {"round": 0, "name": "sft", "gold": 5.0, "proxy_gain": 0.0, "kl": 0.0},
        {"round": 1, "name": "a", "gold": 6.0, "proxy_gain": 1.0, "kl": 1.0, "accuracy": 0.8, "accuracy_low": 0.7}
        | {"accuracy_high": 0.9},
        {"round": 2, "name": "b", "gold": 7.0, "proxy_gain": 2.0, "kl": 2.0, "accuracy": 0.8, "agreement": 0.6}
        | {"agreement_ceiling": 0.9},
    ]
    gold, proxy, kl, agreement = charts(points)
    assert [chart.id for chart in (gold, proxy, kl, agreement)] == [
        "rounds-gold",
        "rounds-proxy",
        "rounds-kl",
        "rounds-agreement",
    ]
    assert [(list(line.xs), list(line.ys)) for line in gold.lines] == [([0, 1, 2], [5, 6, 7])]
    fresh, held_out, best = agreement.lines
    assert (list(fresh.xs), list(held_out.xs), list(best.xs)) == ([2], [1, 2], [2]), "each where it is known"
    assert (held_out.low[0], held_out.high[0], held_out.low[1]) == (0.7, 0.9, None)
    assert best.bound and not fresh.bound
    assert len({line.colour for line in (*gold.lines, *agreement.lines)}) == 4, "one legend for the whole section"
    drawn = str(draw(gold))
    assert ">1<" in drawn and ">0.5<" not in drawn and ">1.5<" not in drawn, "there is no half round"


@pytest.mark.parametrize(
    ("rounds", "reference", "key"),
    [
        ({"b": "RUN"}, "sft", "evaluation.rounds.b: b is not one of the models"),
        ({"a": "auto"}, "sft", "evaluation.rounds.a: 'auto'"),
        ({"a": "RUN"}, "base", "evaluation.reference: base"),
    ],
)
def test_refusals(rounds: dict[str, str], reference: str, key: str) -> None:
    settings = EvaluateSettings(rounds=rounds, reference=reference)
    with pytest.raises(ConfigError, match=f"^{key}"):
        check_rounds(settings, ["sft", "a"])
    check_rounds(EvaluateSettings(rounds={"a": "RUN"}), ["sft", "a"])
