"""Agreement between annotators: values worked out by hand, from the papers, and from other libraries."""

from __future__ import annotations

import math

import pytest
import torch

from rlhf.objectives.agreement import coincidences, dawid_skene, krippendorff_alpha, noise_of, noise_of_majority

# Krippendorff 2011, «Computing Krippendorff's Alpha-Reliability», section C: four observers, twelve units.
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
    (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
)


def counts_of(labels: torch.Tensor, values: int) -> torch.Tensor:
    """[A, U] with −1 for none → [U, V]."""
    return torch.stack([(labels == value).sum(0) for value in range(values)], 1)


def test_alpha_by_hand() -> None:
    # Items (0,0), (0,1), (1,1), (1,1): o = [[2, 1], [1, 4]], margins 3 and 5, n = 8.
    counts = torch.tensor([[2, 0], [1, 1], [0, 2], [0, 2], [1, 0]])
    o = coincidences(counts).sum(0)
    assert o.tolist() == [[2, 1], [1, 4]], "the last item has one label and no pair"
    # 1 − 7 · (1 + 1) / (3·5 + 5·3)
    assert float(krippendorff_alpha(o)) == pytest.approx(1 - 14 / 30)


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_alpha_of_the_paper(level: str, published: float) -> None:
    counts = counts_of(torch.tensor(OBSERVERS) - 1, 5)
    assert float(krippendorff_alpha(coincidences(counts).sum(0), level)) == pytest.approx(published, abs=5e-4)


def test_alpha_of_several_matrices_and_without_variation() -> None:
    o = torch.tensor([[[2.0, 1.0], [1.0, 4.0]], [[6.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    found = krippendorff_alpha(o)
    assert float(found[0]) == pytest.approx(1 - 14 / 30) and found[1:].isnan().all()
    with pytest.raises(ValueError, match="level"):
        krippendorff_alpha(o, "interval")


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_alpha_of_the_library(level: str) -> None:
    krippendorff = pytest.importorskip("krippendorff", reason="pip install krippendorff")
    for seed in range(5):
        drawn = torch.Generator().manual_seed(seed)
        labels = torch.randint(-1, 4, (5, 30), generator=drawn)
        ours = float(krippendorff_alpha(coincidences(counts_of(labels, 4)).sum(0), level))
        theirs = labels.double()
        theirs[labels < 0] = math.nan
        assert ours == pytest.approx(
            krippendorff.alpha(reliability_data=theirs.numpy(), level_of_measurement=level), abs=1e-12
        )


def test_dawid_skene_weighs_an_annotator_who_is_always_wrong() -> None:
    truth = torch.tensor([0, 1, 0, 1, 0, 1])
    found = dawid_skene(torch.stack([truth, truth, 1 - truth]), 2)
    assert found.posterior.argmax(1).tolist() == truth.tolist()
    inverted = torch.tensor([[0, 1], [1, 0]], dtype=torch.float64)
    torch.testing.assert_close(found.confusion[2], inverted, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.prior, torch.full((2,), 0.5, dtype=torch.float64))


def test_dawid_skene_first_step_by_hand() -> None:
    # Two annotators, two items: (0, 0) and (0, 1). Shares of votes: [1, 0] and [½, ½]; prior [¾, ¼].
    # π_1: of true 0, 1 + ½ say 0, so (1, 0); of true 1, (1, 0). π_2: of true 0, (1, ½) / 1½; of true 1, (0, ½) / ½.
    # Item 2: ¾ · 1 · ⅓ = ¼ against ¼ · 1 · 1 = ¼: one half each. Item 1: ¾ · ⅔ against 0.
    found = dawid_skene(torch.tensor([[0, 0], [0, 1]]), 2, most_steps=1)
    torch.testing.assert_close(found.posterior, torch.tensor([[1, 0], [0.5, 0.5]], dtype=torch.float64))


# crowd-kit 1.4.2: DawidSkene(n_iter=3, tol=0), whose first step starts from the shares of votes too.
LABELS = ((2, 0, 0, 1, 1, -1, 1, 1), (-1, 0, -1, 0, 0, 2, 2, -1), (2, 0, 2, 0, 2, -1, 1, 1))
GOLDEN = (
    (0.0, 0.0, 1.0),
    (1.0, 0.0, 0.0),
    (0.423818, 0.0, 0.576182),
    (0.990651, 0.009349, 0.0),
    (0.855052, 0.024465, 0.120483),
    (0.0, 0.56877, 0.43123),
    (0.0, 0.996052, 0.003948),
    (0.0, 0.995287, 0.004713),
)


def test_dawid_skene_of_the_library() -> None:
    found = dawid_skene(torch.tensor(LABELS), 3, most_steps=3)
    torch.testing.assert_close(found.posterior, torch.tensor(GOLDEN, dtype=torch.float64), atol=1e-6, rtol=0)


def test_an_item_without_a_label_is_refused() -> None:
    with pytest.raises(ValueError, match="no label"):
        dawid_skene(torch.tensor([[0, -1], [1, -1]]), 2)


def test_noise_by_hand() -> None:
    # ε = 0.1: two labels agree with 0.9² + 0.1² = 0.82.
    assert noise_of(0.82) == pytest.approx(0.1)
    assert noise_of(1.0) == 0 and noise_of(0.5) == noise_of(0.3) == 0.5
    # Two or three of three are wrong: 3 · 0.1² · 0.9 + 0.1³ = 0.028.
    assert noise_of_majority(0.1, 3) == pytest.approx(0.028)
    # Of two, both wrong 0.01, both right 0.81, else no majority.
    assert noise_of_majority(0.1, 2) == pytest.approx(0.01 / 0.82)
    assert noise_of_majority(0.1, 1) == pytest.approx(0.1)
