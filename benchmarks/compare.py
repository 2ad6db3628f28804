"""Ours against a peer: `python -m benchmarks.compare dpo --data FILE --peer trl --peer-python ENV/bin/python`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.measure import WARM_UP, Bench, Disagreement, measure, prepared
from benchmarks.peers import PEERS
from benchmarks.processes import WorkerError
from benchmarks.summary import Comparison, table

UNITS = {"sft": "examples", "reward": "comparisons", "dpo": "comparisons", "ppo": "episodes"}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = found.add_argument
    add("stage", choices=sorted(UNITS))
    add("--data", required=True, help="comparisons (HH-RLHF transcripts or JSON lines): a file or folder")
    add("--peer", choices=[*PEERS, "none"], default="trl", help="none measures ours alone")
    add("--peer-python", help="interpreter of the peer's environment, see benchmarks/envs.sh")
    add("--setting", action="append", help="of the peer; repeatable; all where left out")
    add("--model", default="gpt2", help="a name in conf/model; weights are drawn from the seed")
    add("--size", action="append", default=[], metavar="KEY=N", help="replaces a size of the architecture; repeatable")
    add("--batch", type=int, default=8, help="examples a step")
    add("--blocks", type=int, default=5, help="timed steps of each side")
    add("--max-length", type=int, default=512, help="tokens; longer prompts lose their front")
    add("--new-tokens", type=int, default=53, help="tokens that PPO draws")
    add("--critic", choices=["separate", "shared"], default="separate", help="ours, in PPO; TRL's is separate")
    add("--epochs", type=int, default=4, help="of PPO, over an iteration's episodes")
    add("--tokens-per-microbatch", type=int, default=4096, help="ours, as train.tokens_per_microbatch")
    add("--lr", type=float, default=1e-5, help="constant, of both")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each side, and of the matrix product")
    add("--seed", type=int, default=1, help="of weights and of the examples' order")
    add("--default-allocator", action="store_true", help="both with glibc's defaults: see verbs/allocator.py")
    add("--peak-size", type=int, default=4096, help="of the square matrices that show the machine's peak")
    add("--out", type=Path, help="file for everything that was measured, JSON")
    return found


def sizes(given: list[str]) -> dict[str, int]:
    return {name: int(value) for name, value in (item.split("=") for item in given)}


def build(args: argparse.Namespace, scratch: Path) -> Bench:
    """Weights and examples are made here, once for all settings."""
    names = ("lr", "max_length", "new_tokens", "critic", "epochs", "tokens_per_microbatch")
    options: dict[str, Any] = {name: getattr(args, name) for name in names}
    if args.stage == "ppo":
        options["max_grad_norm"] = 1e9  # TRL's PPO does not clip gradients
    request = {
        "stage": args.stage,
        "model": args.model,
        "sizes": sizes(args.size),
        "seed": args.seed,
        "count": args.batch * (WARM_UP + args.blocks),
        "max_length": args.max_length,
        "new_tokens": args.new_tokens,
        "data": str(Path(args.data).resolve()),
    }
    return Bench(
        stage=args.stage,
        task=prepared(request, scratch / "shared"),
        options=options,
        batch=args.batch,
        blocks=args.blocks,
        threads=args.threads,
        scratch=scratch,
        keep_freed_memory=not args.default_allocator,
        peak_size=args.peak_size,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )


def compare(args: argparse.Namespace, bench: Bench) -> Iterator[Comparison]:
    """One comparison for each setting of the peer."""
    if args.peer == "none":
        yield measure(bench)
        return
    peer = PEERS[args.peer][args.stage]
    for name in args.setting or peer.settings:
        bench.say(f"{args.peer}, {name}")
        yield measure(bench, peer, name, args.peer_python)


def record(args: argparse.Namespace, comparisons: list[Comparison]) -> dict[str, Any]:
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    return {
        "arguments": given,
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "comparisons": [comparison.record() for comparison in comparisons],
    }


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.peer != "none" and not args.peer_python:
        parser().error(f"--peer-python: missing; benchmarks/envs.sh makes the environment of --peer {args.peer}")
    known = PEERS[args.peer][args.stage].settings if args.peer != "none" else {}
    if unknown := [name for name in args.setting or [] if name not in known]:
        parser().error(f"--setting: {unknown[0]} is not one of {', '.join(known) or 'none'}")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        comparisons: list[Comparison] = []
        try:
            for comparison in compare(args, build(args, Path(scratch))):
                comparisons.append(comparison)
                if args.out:  # each time: a failure hours later must not lose this one
                    args.out.write_text(json.dumps(record(args, comparisons), indent=1) + "\n", encoding="utf-8")
        except (Disagreement, WorkerError) as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            if comparisons:
                Console(width=140).print(table(comparisons, UNITS[args.stage]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
