"""What `plan.py` prints."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlhf.capacity.footprint import BACKWARD, PARTS, Memory
from rlhf.config import PlanConfig
from rlhf.quiet import quiet_libraries
from rlhf.terminal import plain
from verbs.plan.capacity import GB, Capacity, capacity_of, tokens_of

WIDTH = 120
ROLES = ("policy", "critic", "reference", "reward", "scorer", BACKWARD)


def run_plan(config: PlanConfig) -> None:
    """Print what a run will need.

    Raises:
        UserError: the model's sizes or the data can't be read.
    """
    quiet_libraries()
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, WIDTH)  # a table that wraps can't be read, and a pipe has no width
    show(capacity_of(config), console)


def show(capacity: Capacity, console: Console) -> None:
    config, machine = capacity.config, capacity.machine
    strategy = config.strategy
    console.print(
        plain(config.algo.name, "bold")
        + plain(
            f" of {config.model.name} on {counted(machine.devices, machine.kind.upper())}, "
            f"layout {strategy.layout}, {strategy.precision}"
            + (", gradient checkpointing" if strategy.gradient_checkpointing else "")
        )
    )
    console.print(plain(f"lengths from {capacity.planned.source}"))
    console.print()
    console.print(models_table(capacity))
    console.print()
    console.print(plain(f"memory of a device, {title(capacity, capacity.peak)}:"))
    console.print(memory_table(capacity))
    for line in (*fit_lines(capacity), "", *arithmetic_lines(capacity)):
        console.print(line if isinstance(line, Text) else plain(line))


def models_table(capacity: Capacity) -> Table:
    table = _table("parameters", "all", "learning")
    for name, sizes in capacity.sizes.items():
        table.add_row(name, count(sizes.total), count(sizes.trainable) if name in capacity.stage.trained else "–")
    return table


def memory_table(capacity: Capacity) -> Table:
    """Parts down, models across, of the phase in which most is needed; beneath it what the others need."""
    peak = capacity.peak
    # Further members of an ensemble, reward_1 and so on, stand beside the first.
    place = {role: number for number, role in enumerate(ROLES)}
    present = {model for _, model in peak.parts}
    roles = sorted(present, key=lambda role: (place.get(role.split("_")[0], len(place)), role))
    table = _table("", *roles, "sum")
    for part in PARTS:
        if peak.of(part):
            cells = [size(peak.of(part, role)) if peak.of(part, role) else "–" for role in roles]
            table.add_row(part, *cells, size(peak.of(part)))
    sums = [sum(number for (_, model), number in peak.parts.items() if model == role) for role in roles]
    table.add_section()
    table.add_row("sum", *map(size, sums), size(peak.total), style="bold")
    for other in capacity.phases:
        if other is not peak:
            table.add_row(title(capacity, other), *[""] * len(roles), size(other.total), style="dim")
    return table


def title(capacity: Capacity, memory: Memory) -> str:
    if memory.phase == "update":
        rows = capacity.heaviest
        return f"in an update of {counted(len(rows), 'row')}, {tokens_of(rows)} tokens"
    if memory.phase == "documents":
        return "in an update by documents (algo.ptx_coef)"
    return f"while sampling {min(capacity.config.rollout.max_rows, capacity.sampled)} at a time"


def fit_lines(capacity: Capacity) -> Iterator[str | Text]:
    """Whether it fits, and what would."""
    machine, config = capacity.machine, capacity.config
    for what, host in (("weights, gradients, moments", capacity.stage.host()), ("activations", capacity.log.moved)):
        if host:
            yield f"and on the host, for each device: {size(host)} of {what}"
    if machine.kind == "cpu":
        yield "resident memory is more than that, since on CPU freed blocks are kept for speed: see docs/planner.md"
    fits = capacity.peak.total <= capacity.limit
    room = f" into {size(machine.memory)} ({machine.source}) with {config.plan.reserve:.0%} left free"
    yield (plain("fits") if fits else plain("does not fit", "bold red")) + plain(room)
    key, largest, row = "train.tokens_per_microbatch", capacity.largest, max(row.length for row in capacity.heaviest)
    if largest < row:
        sampling = capacity.sampling()
        if sampling is not None and sampling.total > capacity.limit:
            yield f"largest {key}: none; sampling alone needs {size(sampling.total)}: lower rollout.max_rows"
        else:
            yield (
                f"largest {key}: none; a row of {row} tokens needs {size(capacity.line.bytes(row))}: "
                "shard over more devices, or save memory with strategy.gradient_checkpointing=true"
            )
        return
    if largest >= capacity.update_tokens:
        yield f"largest {key}: {capacity.update_tokens}, all tokens of a device's share of an update"
    else:
        yield f"largest {key}: {int(largest)} (here {config.train.tokens_per_microbatch})"


def arithmetic_lines(capacity: Capacity) -> Iterator[str]:
    """Arithmetic, time and cost of a step and of the run."""
    parts, plan, total = capacity.arithmetic, capacity.config.plan, capacity.planned.total
    step = {part: operations for part, operations in parts.items() if part != "preparation"}
    detail = f" ({', '.join(f'{part} {operations(n)}' for part, n in step.items())})" if len(step) > 1 else ""
    yield (
        f"arithmetic of a step: {operations(sum(step.values()))}{detail}, "
        f"for {capacity.step_tokens:.0f} tokens on all devices"
    )
    if capacity.recomputed:
        yield f"and {operations(capacity.recomputed)} once more, for activations that are recomputed"
    if "preparation" in parts and total is not None:
        yield f"and once, for the reference: at most {operations(parts['preparation'] * total)}"
    seconds = capacity.seconds
    if not seconds:
        yield "time: pass plan.tflops=N, the peak TFLOP/s of a device in this precision"
        return
    each = sum(seconds.values())
    detail = f" ({', '.join(f'{part} {time(s)}' for part, s in seconds.items())})" if len(seconds) > 1 else ""
    yield f"time of a step: {time(each)}{detail}, at {plan.utilisation:.0%} of {plan.tflops:g} TFLOP/s a device"
    if "sampling" in seconds and plan.bandwidth is None:
        yield "sampling takes longer than that, being bound by memory: pass plan.bandwidth=GB/s"
    if total is None:
        yield "time of the run: pass train.max_steps=N; the data, and so the number of its steps, was not read"
    else:
        prepared = parts.get("preparation", 0.0) / sum(step.values()) * each
        yield f"time of the run: {time(total * (each + prepared))} for {counted(total, 'step')}, without evaluations"
    if plan.price_per_hour is not None:
        price = plan.price_per_hour * capacity.machine.devices / 3600
        run = f", {price * total * each:,.2f} for the run" if total is not None else ""
        yield f"cost: {price * each:.3g} a step{run}, at {plan.price_per_hour:g} an hour a device"


def _table(title: str, *columns: str) -> Table:
    table = Table(title, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def size(n: float) -> str:
    """Bytes in decimal units."""
    for unit, factor in (("TB", 1e12), ("GB", GB), ("MB", 1e6), ("kB", 1e3)):
        if n >= factor:
            return f"{n / factor:.2f} {unit}" if n < 10 * factor else f"{n / factor:.1f} {unit}"
    return f"{n:.0f} B"


def count(n: float) -> str:
    return f"{n / 1e9:.2f} B" if n >= 1e9 else f"{n / 1e6:.2f} M"


def operations(n: float) -> str:
    """FLOPs in decimal units."""
    for unit, factor in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if n >= factor:
            return f"{n / factor:.3g} {unit}"
    return f"{n / 1e6:.3g} MFLOP"


def time(seconds: float) -> str:
    for unit, factor in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * factor:
            return f"{seconds / factor:.1f} {unit}"
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"
