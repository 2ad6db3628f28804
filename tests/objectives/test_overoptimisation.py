from __future__ import annotations

import math

import pytest
import torch

from rlhf.objectives.overoptimisation import Form, explained, fit_gain, gold_gain, peak

D = torch.tensor([0.0, 1.0, 2.0, 3.0])


def test_the_laws_at_points_worked_out_by_hand() -> None:
    # d(α − βd) with α = 3, β = 1: 0, 1·2, 2·1, 3·0.
    assert gold_gain(D, 3, 1, "best_of_n").tolist() == [0, 2, 2, 0]
    # d(α − β log d): log 1 = 0, so 3 at d = 1; at d = e it is e·(3 − 1).
    assert gold_gain(torch.tensor([0.0, 1.0, math.e]), 3, 1, "rl").tolist() == pytest.approx([0, 3, 2 * math.e])


@pytest.mark.parametrize("form", ["best_of_n", "rl"])
@pytest.mark.parametrize(("alpha", "beta"), [(3.0, 1.0), (0.5, 2.0), (-1.0, 0.3), (2.0, -0.1)])
def test_the_fit_recovers_both_coefficients(form: Form, alpha: float, beta: float) -> None:
    d = torch.linspace(0, 4, 9)
    gain = gold_gain(d, alpha, beta, form)
    assert fit_gain(d, gain, form).tolist() == pytest.approx([alpha, beta], abs=1e-5)
    # Several at once, and noise that sums to nothing along the law does not move it much.
    both = fit_gain(torch.stack([d, d]), torch.stack([gain, 2 * gain]), form)
    assert both[1].tolist() == pytest.approx([2 * alpha, 2 * beta], abs=1e-5)
    assert explained(gain, gold_gain(d, alpha, beta, form)) == pytest.approx(1)


def test_least_squares_by_hand() -> None:
    # Best-of-n at d = 1, 2, 3 with gains 1, 1, 1. Columns u = d and v = −d²: Σu² = 14, Σuv = −36, Σv² = 98, Σuy = 6,
    # Σvy = −14. α = (6·98 − 36·14)/(14·98 − 36²) = 84/76, β = (14·(−14) + 36·6)/76 = 20/76.
    found = fit_gain(torch.tensor([1.0, 2.0, 3.0]), torch.ones(3), "best_of_n").tolist()
    assert found == pytest.approx([84 / 76, 20 / 76])
    # At d = 1, 2, 3 the law then gives 64/76, 88/76, 72/76, and all gains are equal: R² means nothing.
    assert explained(torch.ones(3), torch.zeros(3)) is None
    # Gains 0, 2 (mean 1, squares 2) fitted by 0, 1: 1 − 1/2.
    assert explained(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 1.0])) == pytest.approx(0.5)


def test_the_peak_is_where_the_law_is_highest() -> None:
    # α/(2β), and exp(α/β − 1).
    assert peak(3, 1, "best_of_n") == 1.5
    assert peak(3, 1, "rl") == pytest.approx(math.exp(2))
    for form in ("best_of_n", "rl"):
        d = torch.linspace(0, 20, 20001, dtype=torch.float64)
        assert peak(2, 0.8, form) == pytest.approx(float(d[gold_gain(d, 2, 0.8, form).argmax()]), abs=1e-3)  # type: ignore[arg-type]
        assert peak(2, 0, form) is None and peak(2, -1, form) is None  # type: ignore[arg-type]
    assert peak(-1, 1, "best_of_n") is None, "it falls from the start"
    assert peak(1, 1e-3, "rl") is None, "further out than any policy gets"


def test_one_distance_tells_no_two_coefficients() -> None:
    for d in ([0.0, 0.0, 1.0], [1.0, 1.0, 1.0]):
        with pytest.raises(ValueError, match="two different distances"):
            fit_gain(torch.tensor(d), torch.ones(3), "rl")
