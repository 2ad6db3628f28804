"""From a response's score to a reward at each of its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rlhf.objectives.kl import k1
from rlhf.objectives.numeric import AllReduce, keep, widen


class RunningMoments:
    """Mean and variance of all scores that it was shown, over batches and ranks.

    Batches are merged as in Chan et al. 1979: with δ the difference of the two means, n and m the counts,
    mean ← mean + δ·m/(n+m) and M2 ← M2 + M2' + δ²·n·m/(n+m). Everything is kept in fp64; what is not finite is left
    out. The variance divides by n.

    Attributes:
        count, mean, squares: n, the mean, and M2 = Σ(x − mean)².
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0.0, 0.0, 0.0

    @torch.no_grad()
    def update(self, scores: Tensor, all_reduce: AllReduce | None = None) -> None:
        """Take in a batch; every rank must call, also one without scores.

        Args:
            scores: any shape.
            all_reduce: sums over ranks.
        """
        reduce = all_reduce or (lambda x: x)
        scores = scores.detach().double().cpu()
        scores = scores[torch.isfinite(scores)]
        count, total = reduce(torch.stack([torch.tensor(float(scores.numel())).double(), scores.sum()])).tolist()
        mean = total / count if count else 0.0
        squares = float(reduce((scores - mean).square().sum()))
        if count:
            apart, both = mean - self.mean, self.count + count
            self.squares += squares + apart * apart * self.count * count / both
            self.mean += apart * count / both
            self.count = both

    @property
    def deviation(self) -> float:
        """Population standard deviation; 1 where nothing has differed yet, so that dividing by it changes nothing."""
        deviation = math.sqrt(self.squares / self.count) if self.count else 0.0
        return deviation if deviation > 1e-8 * max(1.0, abs(self.mean)) else 1.0

    def apply(self, scores: Tensor, how: str) -> Tensor:
        """Scores by these statistics: `scale` divides by the deviation, `whiten` takes the mean off before.

        Args:
            scores: any shape. Before the first update they come back as they are.

        Returns:
            The same shape, fp32.
        """
        scores = widen(scores)
        if how == "none" or not self.count:
            return scores
        return (scores - (self.mean if how == "whiten" else 0.0)) / self.deviation

    def state_dict(self) -> dict[str, float]:
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.count, self.mean, self.squares = (float(state[name]) for name in ("count", "mean", "squares"))


@torch.no_grad()
def length_penalty(lengths: Tensor, coef: float, target: int) -> Tensor:
    """−coef · max(0, length − target) of each response.

    Args:
        lengths: [E], tokens, the end-of-text among them.
        coef: score per token, ≥ 0.
        target: tokens that cost nothing.

    Returns:
        [E], fp32, ≤ 0.
    """
    return -coef * (lengths.float() - target).clamp(min=0)


def ngrams(tokens: Sequence[int], n: int) -> list[tuple[int, ...]]:
    """Every n tokens in a row; all of them as one where there are fewer; nothing of nothing."""
    tokens = tuple(tokens)
    if len(tokens) <= n:
        return [tokens] if tokens else []
    return [tokens[i : i + n] for i in range(len(tokens) - n + 1)]


def repeated_share(tokens: Sequence[int], n: int) -> float:
    """1 − different n-grams / n-grams of a response (Welleck et al. 2020, seq-rep-n); 0 of an empty one.

    Args:
        tokens: ids without end-of-text.
        n: ≥ 1.
    """
    found = ngrams(tokens, n)
    return 1 - len(set(found)) / len(found) if found else 0.0


def distances(responses: Sequence[Sequence[int]], n: int) -> list[float]:
    """How little each sample has in common with the others of its prompt: 1 − the mean Jaccard index of n-grams.

    d_i = 1 − 1/(G−1) · Σ_{j≠i} |S_i ∩ S_j| / |S_i ∪ S_j|, with S_i the set of n-grams of response i; two empty
    responses are equal. A single sample has nothing to differ from: 0.

    Args:
        responses: G lists of ids without end-of-text.
        n: ≥ 1.

    Returns:
        G numbers from 0 (all equal) to 1 (nothing in common).
    """
    sets = [set(ngrams(tokens, n)) for tokens in responses]
    if len(sets) < 2:
        return [0.0] * len(sets)

    def alike(a: set[tuple[int, ...]], b: set[tuple[int, ...]]) -> float:
        return len(a & b) / len(a | b) if a or b else 1.0

    return [
        1 - sum(alike(mine, other) for j, other in enumerate(sets) if j != i) / (len(sets) - 1)
        for i, mine in enumerate(sets)
    ]


@torch.no_grad()
def shape_scores(scores: Tensor, finished: Tensor, *, missing_eos_penalty: float, clip: float | None) -> Tensor:
    """Clip scores to [−clip, clip], then take the penalty from responses without an end-of-text.

    In this order an unfinished response costs the same whatever it scored: a reward model never saw one, so that its
    score there can be anything (Stiennon et al. 2020; Huang et al. 2024).

    Args:
        scores: [E].
        finished: [E], true where the response ended with its end-of-text.
        missing_eos_penalty: ≥ 0, taken from the score.
        clip: > 0, or None for no clipping.

    Returns:
        [E], fp32.
    """
    scores = widen(scores)
    if clip is not None:
        scores = scores.clamp(-clip, clip)
    return torch.where(finished.bool(), scores, scores - missing_eos_penalty)


@torch.no_grad()
def later_kl_rewards(
    logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor, kl_coef: float, gamma: float = 1.0
) -> Tensor:
    """−kl_coef·γ·(log π − log π_ref) of the NEXT token, at each response token: what a choice costs later on.

    The rest of the penalty where each token's own KL is a term of the loss: a loss has no gradient through the tokens
    that a choice leads to. Together they are the gradient of the KL of whole responses; without these rewards the
    optimum is another one (total variation 0.12 from it in `tests/proof/`).

    Args:
        logprobs, reference_logprobs, mask: [E, L], as in `shaped_rewards`; response tokens stand together.
        kl_coef: price of a nat, ≥ 0. gamma: γ, what the next token's rewards are discounted by.

    Returns:
        [E, L], fp32; 0 at last tokens and where masked.
    """
    following = keep(mask, k1(logprobs, reference_logprobs))[:, 1:]
    return -kl_coef * gamma * torch.cat([following, torch.zeros_like(mask[:, :1], dtype=following.dtype)], 1)


@torch.no_grad()
def shaped_rewards(
    scores: Tensor, logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """−kl_coef·(log π − log π_ref) at each response token, and the score at the last (Ziegler et al. 2019, eq. 2;
    Ouyang et al. 2022, eq. 2).

    The KL term is k1 of the rollout, a reward like any other: no gradient passes through it.

    Args:
        scores: [E], shaped already.
        logprobs, reference_logprobs: [E, L], of the sampled tokens at the sampling temperature.
        mask: [E, L], true at response tokens, the end-of-text among them. A row without any gets no reward at all.
        kl_coef: price of a nat, ≥ 0; 0 where the KL is in the loss instead.

    Returns:
        [E, L], fp32; 0 where masked.
    """
    mask = mask.bool()
    rewards = keep(mask, -kl_coef * k1(logprobs, reference_logprobs))
    position = torch.arange(mask.shape[-1], device=mask.device)
    last = torch.where(mask, position, -1).amax(-1, keepdim=True)
    return rewards + keep(mask & (position == last), widen(scores)[:, None].expand(mask.shape))
