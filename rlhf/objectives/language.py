"""Cross-entropy of a language model, and its unit that does not depend on a tokenizer."""

from __future__ import annotations

import math

from torch import Tensor

from rlhf.objectives.numeric import widen


def nll_sum(logprobs: Tensor) -> Tensor:
    """Negative log-likelihood −Σ log p, in nats: a sum, since its denominator is global.

    Args:
        logprobs: [N], the log-probability of each target token.

    Returns:
        Scalar, fp32.
    """
    return -widen(logprobs).sum()


def bits_per_byte(nats: float, n_bytes: int) -> float:
    """Total negative log-likelihood (nats) of a text, in bits per UTF-8 byte of that text.

    Unlike perplexity it compares models of different vocabularies, since no token is counted.

    Raises:
        ValueError: `n_bytes` is not positive.
    """
    if n_bytes <= 0:
        raise ValueError(f"n_bytes is {n_bytes}: bits per byte needs a text of at least one byte")
    return nats / (n_bytes * math.log(2))
