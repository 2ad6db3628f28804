"""Numbers worked out by hand for scores of several models."""

from __future__ import annotations

import pytest
import torch

from rlhf.config import scoring
from rlhf.objectives.ensembles import COMBINATIONS, combined, disagreement

# Columns are responses: means 2 and 1, population variances (1 + 0 + 1)/3 = 2/3 and (1 + 4 + 9)/3 = 14/3.
MEMBERS = torch.tensor([[1.0, 2.0], [2.0, -1.0], [3.0, 2.0]])
MEMBERS[:, 1] = torch.tensor([2.0, -2.0, 3.0])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", [2.0, 1.0]),
        ("median", [2.0, 2.0]),
        ("min", [1.0, -2.0]),
        ("variance", [2.0 - 0.5 * 2 / 3, 1.0 - 0.5 * 14 / 3]),
        ("deviation", [2.0 - 0.5 * (2 / 3) ** 0.5, 1.0 - 0.5 * (14 / 3) ** 0.5]),
    ],
)
def test_by_hand(how: str, expected: list[float]) -> None:
    torch.testing.assert_close(combined(MEMBERS, how, 0.5), torch.tensor(expected))


def test_configurations_offer_what_there_is() -> None:
    assert scoring.COMBINATIONS == COMBINATIONS


def test_median_of_two_is_their_middle() -> None:
    assert combined(torch.tensor([[1.0], [4.0]]), "median").tolist() == [2.5]


def test_disagreement_is_the_population_deviation() -> None:
    torch.testing.assert_close(disagreement(MEMBERS), torch.tensor([2 / 3, 14 / 3]).sqrt())


@pytest.mark.parametrize("how", COMBINATIONS)
def test_members_that_agree_are_as_one(how: str) -> None:
    scores = torch.tensor([1.5, -2.0])
    torch.testing.assert_close(combined(scores.repeat(3, 1), how, 0.7), scores)


@pytest.mark.parametrize("how", COMBINATIONS)
def test_order_of_members_does_not_matter_and_nan_is_not_hidden(how: str) -> None:
    torch.testing.assert_close(combined(MEMBERS, how, 0.3), combined(MEMBERS.flip(0), how, 0.3))
    broken = MEMBERS.clone()
    broken[1, 0] = float("nan")
    assert combined(broken, how, 0.3).isnan().tolist() == [True, False]


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="mean, median"):
        combined(MEMBERS, "max")
