"""Process rewards: a probability at each step's end that the step is right, and one score of all steps."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.objectives.numeric import keep, widen

Combine = Literal["min", "product", "mean", "last"]


def step_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """−y·log σ(z) − (1 − y)·log σ(−z) of each step (Lightman et al. 2023, section 2.6; Wang et al. 2023, eq. 2).

    Args:
        logits: [S], read at the last token of each step, with gradient.
        labels: [S], the probability that a step is right: 1 or 0, or between them as Monte Carlo estimates are.

    Returns:
        Losses [S], nats, not reduced.
    """
    return F.binary_cross_entropy_with_logits(widen(logits), labels.to(widen(logits)), reduction="none")


def by_response(values: Tensor, response: Tensor, n: int, fill: float) -> Tensor:
    """One value a step, [S], as one row a response: [n, most steps of a response], `fill` after the last.

    Args:
        response: [S], the number of each step's response, 0 to n − 1, in ascending order.
    """
    counts = torch.bincount(response, minlength=n)
    order = torch.arange(len(response), device=response.device) - (counts.cumsum(0) - counts)[response]
    padded = values.new_full((n, int(counts.max()) if len(response) else 0), fill)
    return padded.index_put((response, order), values)


def running_scores(logits: Tensor, how: Combine) -> Tensor:
    """The score of the first k steps of each response, for every k.

    `min`: the lowest probability (Wang et al. 2023); `product`: that all steps are right (Lightman et al. 2023);
    `mean`; `last`: of the k-th step alone.

    Args:
        logits: [R, K], of the steps of each response.

    Returns:
        [R, K], probabilities in fp32.

    Raises:
        ValueError: an unknown `how`.
    """
    if how not in get_args(Combine):
        raise ValueError(f"how is {how!r}; it must be one of {', '.join(get_args(Combine))}")
    logits = widen(logits)
    if how == "min":
        return torch.sigmoid(logits.cummin(-1).values)
    if how == "product":
        return F.logsigmoid(logits).cumsum(-1).exp()
    right = torch.sigmoid(logits)
    if how == "last":
        return right
    return right.cumsum(-1) / torch.arange(1, logits.shape[-1] + 1, device=logits.device)


def score_changes(logits: Tensor, response: Tensor, n: int, how: Combine) -> Tensor:
    """By how much each step changes the score of what stands in front of it; that of no steps is 0.

    A response's changes add up to its score, so that paying them where steps end moves credit and, without a discount,
    no optimum: shaping by a potential, which is the score so far (Ng et al. 1999).

    Args:
        logits: [S]. response: [S], as in `by_response`; every response has at least one step.

    Returns:
        [S], fp32.
    """
    padded = by_response(widen(logits), response, n, 0.0)
    scores = running_scores(padded, how)
    changes = torch.cat([scores[:, :1], scores.diff(dim=-1)], -1)
    return changes[by_response(torch.ones_like(response, dtype=torch.bool), response, n, False)]


def combined_steps(logits: Tensor, response: Tensor, n: int, how: Combine) -> Tensor:
    """The score of each response, see `running_scores`.

    Args:
        logits: [S]. response: [S], as in `by_response`; every response has at least one step.

    Returns:
        [n], probabilities in fp32.
    """
    scores = running_scores(by_response(widen(logits), response, n, 0.0), how)
    last = torch.bincount(response, minlength=n) - 1
    return scores.gather(-1, last[:, None]).squeeze(-1)


@torch.no_grad()
def first_wrong(wrong: Tensor, response: Tensor, n: int) -> Tensor:
    """The number of each response's first wrong step, from 0; −1 where no step is.

    Args:
        wrong: [S], bool. response: [S], as in `by_response`.

    Returns:
        [n], long.
    """
    padded = by_response(wrong, response, n, False)
    if padded.shape[-1] == 0:
        return torch.full((n,), -1, device=wrong.device)
    return torch.where(padded.any(-1), padded.long().argmax(-1), -1)


@torch.no_grad()
def credit_to_steps(changes: Tensor, mask: Tensor) -> Tensor:
    """What takes a response's score from its last token and gives it to its steps: each row adds up to 0.

    Args:
        changes: [E, L], of `score_changes` where steps end, 0 elsewhere.
        mask: [E, L], true at response tokens.

    Returns:
        [E, L], fp32; 0 where masked.
    """
    changes = keep(mask, widen(changes))
    position = torch.arange(mask.shape[-1], device=mask.device)
    last = torch.where(mask.bool(), position, -1).amax(-1, keepdim=True)
    return changes - keep(position == last, changes.sum(-1, keepdim=True).expand(mask.shape))
