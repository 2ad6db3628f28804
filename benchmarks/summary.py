"""From seconds to what is reported: rates, ratios of medians with their spread, memory, and the share of the peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.table import Table


@dataclass
class Side:
    """What one side took.

    Attributes:
        preparation: seconds of preparation (a reference pass) that fall to one step.
        seconds: of each timed step, without preparation.
        memory: highest resident bytes.
        versions: of the libraries that it uses.
        facts: whatever else a worker said of each timed step.
    """

    preparation: float
    seconds: list[float]
    memory: int
    versions: dict[str, str] = field(default_factory=dict)
    facts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def costs(self) -> list[float]:
        """Seconds of each step with its share of the preparation."""
        return [seconds + self.preparation for seconds in self.seconds]


@dataclass
class Useful:
    """Operations that the maths needs, on average over the timed steps: `rlhf.capacity.flops`."""

    preparation: float
    step: float


@dataclass
class Comparison:
    """One stage against one peer in one setting; `peer` is None where ours was measured alone.

    Attributes:
        examples: in a step.
        peak: operations a second of the machine's matrix product.
    """

    stage: str
    setting: str
    micro_batch: int
    examples: int
    ours: Side
    peer: Side | None
    useful: Useful
    peak: float

    def rate(self, side: Side) -> float:
        """Examples a second, by the median step."""
        return self.examples / median(side.costs)

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the peer we are: the ratio of the medians."""
        return median(self.peer.costs) / median(self.ours.costs) if self.peer else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """Lowest and highest ratio of the blocks; a block is one step of each side, on the same examples."""
        if self.peer is None:
            return None
        ratios = [theirs / mine for mine, theirs in zip(self.ours.costs, self.peer.costs, strict=True)]
        return min(ratios), max(ratios)

    @property
    def memory_ratio(self) -> float | None:
        """Our peak memory over the peer's."""
        return self.ours.memory / self.peer.memory if self.peer else None

    @property
    def fraction(self) -> float:
        """Useful operations a second over the machine's peak, with the preparation."""
        return (self.useful.preparation + self.useful.step) / median(self.ours.costs) / self.peak

    @property
    def step_fraction(self) -> float:
        """The same of the steps alone."""
        return self.useful.step / median(self.ours.seconds) / self.peak

    def record(self) -> dict[str, Any]:
        """Everything measured and everything computed from it."""
        names = ("ratio", "spread", "memory_ratio", "fraction", "step_fraction")
        rates = {"ours": self.rate(self.ours), "peer": self.rate(self.peer) if self.peer else None}
        return asdict(self) | {name: getattr(self, name) for name in names} | {"examples_per_second": rates}


def table(comparisons: Sequence[Comparison], unit: str) -> Table:
    """The comparisons as people read them."""
    found = Table(caption="ratio: of median steps, with the lowest and the highest block")
    columns = ("stage", "peer's setting", f"ours, {unit}/s", f"peer, {unit}/s", "ratio", "our GB", "its GB", "of peak")
    for number, column in enumerate(columns):
        found.add_column(column, justify="right" if number > 1 else "left", no_wrap=True)
    for c in comparisons:
        rates = [f"{c.rate(c.ours):.3g}", f"{c.rate(c.peer):.3g}" if c.peer else "–"]
        ratio = f"{c.ratio:.2f} ({c.spread[0]:.2f}–{c.spread[1]:.2f})" if c.spread else "–"
        memory = [f"{c.ours.memory / 1e9:.1f}", f"{c.peer.memory / 1e9:.1f}" if c.peer else "–"]
        name = f"{c.setting} ×{c.micro_batch}" if c.peer else "–"
        found.add_row(c.stage, name, *rates, ratio, *memory, f"{c.fraction:.0%}")
    return found
