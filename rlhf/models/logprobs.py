"""Log-probabilities of chosen tokens, chunk by chunk: the full logits never exist at once.

A vocabulary of 50,257 makes logits the largest tensor of a step. Only response positions are scored, `CHUNK` of them at
a time, and the backward pass recomputes each chunk's logits instead of keeping them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import register_dataclass
from torch.utils.checkpoint import checkpoint

from rlhf.objectives.kl import full_kl
from rlhf.objectives.ppo import entropy as entropy_of

CHUNK = 512
"""Positions whose logits exist at the same time: 512 × 50,257 × 4 bytes = 103 MB in fp32."""

Head = Callable[[Tensor], Tensor]


@dataclass
class TokenStats:
    """Log-probabilities and the like of N chosen tokens; fp32, each of shape [N], `None` where it was not asked for.

    `log_squares` is log Σ_v π(v)² of the distribution that a token was chosen from, without gradient.
    """

    logprobs: Tensor
    entropy: Tensor | None = None
    kl: Tensor | None = None
    values: Tensor | None = None
    log_squares: Tensor | None = None


# FSDP looks for tensors in what a model returns, to gather its parameters again when gradients arrive at them.
register_dataclass(TokenStats)


def chosen_logprobs(
    hidden: Tensor,
    tokens: Tensor,
    head: Head,
    *,
    temperature: float = 1.0,
    want_entropy: bool = False,
    want_log_squares: bool = False,
    reference: tuple[Tensor, Head] | None = None,
) -> TokenStats:
    """log softmax(head(hidden) / temperature) at `tokens`, in fp32.

    Args:
        hidden: [N, D], the last hidden state at the positions that predict `tokens`.
        tokens: [N], the chosen token ids.
        head: maps [n, D] to logits [n, V].
        temperature: the logits are divided by it, as they were when the tokens were sampled.
        want_entropy: also the entropy (nats) of each distribution.
        want_log_squares: also the log of the sum of its squared probabilities.
        reference: hidden states [N, D] and head of a reference model; also KL(policy ‖ reference) (nats), exactly.
    """

    def chunk(hidden: Tensor, tokens: Tensor, other: Tensor | None) -> tuple[Tensor, ...]:
        logits = head(hidden).float() / temperature
        every = torch.log_softmax(logits, dim=-1)
        logprobs = every.gather(-1, tokens[:, None]).squeeze(-1)
        squares = (2 * every.detach()).logsumexp(-1) if want_log_squares else logprobs.new_zeros(())
        entropy = entropy_of(logits) if want_entropy else logprobs.new_zeros(())
        kl = logprobs.new_zeros(())
        if reference is not None and other is not None:
            with torch.no_grad():
                other_logits = reference[1](other).float() / temperature
            kl = full_kl(logits, other_logits)
        return logprobs, entropy, kl, squares

    others = reference[0].split(CHUNK) if reference is not None else [None] * max(1, -(-len(hidden) // CHUNK))
    parts = []
    for h, t, o in zip(hidden.split(CHUNK), tokens.split(CHUNK), others, strict=True):
        if torch.is_grad_enabled() and len(hidden) > CHUNK:
            parts.append(checkpoint(chunk, h, t, o, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(chunk(h, t, o))
    logprobs, entropies, kls, squares = (list(column) for column in zip(*parts, strict=True))
    return TokenStats(
        torch.cat(logprobs),
        torch.cat(entropies) if want_entropy else None,
        torch.cat(kls) if reference is not None else None,
        log_squares=torch.cat(squares) if want_log_squares else None,
    )
