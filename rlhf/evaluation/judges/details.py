"""What an evaluation keeps of its judge beside the marks."""

from __future__ import annotations

from typing import TypedDict

from rlhf.evaluation.judges.rubric import PositionBias


class GoldAgreement(TypedDict):
    """How often a judge sees the winner that the embedded task's own judge sees.

    Attributes:
        agree: share of pairs with such a winner; a tie counts one half.
        n: pairs.
    """

    agree: float
    n: int


class JudgeDetails(TypedDict, total=False):
    """`judge_details` of `evaluation.json`; what a judge does not have is missing.

    Attributes:
        unit: of its marks.
        model, url, mode, temperature, prompts: of an endpoint judge; `prompts` is a fingerprint of its instructions.
        calls: made, cached, failed and refused, by name. cost: in the currency of the prices that were given.
        unreadable: replies without a mark.
        position_bias: `None` where no pair was read in both orders.
        gold: beside the embedded task's own judge.
        not_finite: answers to which a reward model gave NaN or infinity.
    """

    unit: str
    model: str | None
    url: str | None
    mode: str
    temperature: float
    prompts: str
    calls: dict[str, int]
    cost: float | None
    unreadable: int
    position_bias: PositionBias | None
    gold: GoldAgreement
    not_finite: int
