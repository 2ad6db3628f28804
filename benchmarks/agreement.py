"""Whether both sides compute the same: a ratio of times says nothing of two different losses."""

from __future__ import annotations

from collections.abc import Sequence

RELATIVE, ABSOLUTE = 1e-4, 1e-5
TOLERANCES = {
    # Small differences of large numbers, and Adam's first updates turn on the sign of gradients near 0.
    "margin": (0.02, 2e-4),
    # Means over epochs of updates.
    "policy_loss": (1e-3, 1e-5),
    "value_loss": (1e-3, 1e-5),
}


def disagreements(ours: Sequence[dict[str, float]], peer: Sequence[dict[str, float]], looser: float = 1.0) -> list[str]:
    """A sentence for each number that both report, step by step, and that differs by more than its tolerance.

    Args:
        looser: factor of all tolerances, for arithmetic in less than fp32.
    """
    found = []
    for step, (mine, theirs) in enumerate(zip(ours, peer, strict=True), 1):
        for name in sorted(mine.keys() & theirs.keys()):
            relative, absolute = TOLERANCES.get(name, (RELATIVE, ABSOLUTE))
            # Written so that NaN disagrees too.
            if not abs(mine[name] - theirs[name]) <= looser * (absolute + relative * abs(theirs[name])):
                found.append(f"step {step}: {name} is {mine[name]:.7g} on our side, {theirs[name]:.7g} on the peer's")
    return found
