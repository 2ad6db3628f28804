"""The verbs as command-line programs. What they do is imported once the configuration is valid: a mistyped key should
be told without waiting for torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from launch.app import talking_verb, verb
from launch.children import perform
from launch.pipeline import run_pipeline, separate
from rlhf.config import LoggerConfig, PlanConfig
from rlhf.errors import UserError, nearest
from rlhf.plain_text import one_line

if TYPE_CHECKING:
    from launch.planner import Point
    from rlhf.config import CollectConfig, EvaluateConfig, TrainConfig
    from rlhf.config.objective import Value
    from rlhf.runs import Run


@verb("train")
def train(config: TrainConfig, run: Run, overrides: list[str]) -> Value:
    """Train one stage (pretrain, sft, reward, dpo or ppo), and export the model that comes out."""
    from verbs.train.stage import run_stage

    return run_stage(config, run, overrides)


@talking_verb("pipeline", prepare=lambda typed: separate(typed)[0])
def pipeline(point: Point, overrides: list[str]) -> None:
    """Run the stages of a pipeline in order; finished ones are kept, and an interrupted one is continued."""
    single = separate([item for item in sys.argv[1:] if not item.startswith("-")])[1]
    run_pipeline(point, overrides, single, perform)


@verb("collect")
def collect(config: CollectConfig, run: Run, overrides: list[str]) -> float | None:
    """Sample several answers to each prompt, have an annotator rank them, and write the ranked JSONL."""
    from verbs.collect import run_collect

    return run_collect(config, run, overrides)


@verb("evaluate")
def evaluate(config: EvaluateConfig, run: Run, overrides: list[str]) -> float | None:
    """Give several models the same held-out prompts; write scores, win rates, KL and a report, side by side."""
    from verbs.evaluate.evaluate import run_evaluate

    return run_evaluate(config, run, overrides)


@talking_verb("chat")
def chat(point: Point, overrides: list[str]) -> None:
    """Talk to a finished run or a model folder. Each line is a turn; /help lists what else can be typed there."""
    from verbs.chat import converse

    converse(point.config, point.parents)


@talking_verb("plan")
def plan(point: Point, overrides: list[str]) -> None:
    """Print memory, arithmetic, time and cost of a training run, without weights and without running it."""
    from verbs.plan.printed import run_plan

    assert isinstance(point.config, PlanConfig)
    run_plan(point.config)


@talking_verb("report")
def report(point: Point, overrides: list[str]) -> None:
    """Write one page, report.html, about a run, a sweep or an evaluation; it reads what is there, and runs nothing."""
    from verbs.report import run_report

    run_report(point.config)


PROGRAMS = {program.name: program for program in (train, pipeline, collect, evaluate, chat, plan, report)}


def dashboard(argv: list[str] | None = None) -> int:
    """Make or update a workspace and a report in Weights & Biases. Returns the exit code: 2 for a user's mistake."""
    parser = argparse.ArgumentParser(description=(dashboard.__doc__ or "").split(". ")[0] + ".")
    parser.add_argument("--project", default=LoggerConfig().project, help="as logger.project (default: %(default)s)")
    parser.add_argument("--entity", help="as logger.entity (default: of the account whose key is set)")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where files go (default: %(default)s)")
    parser.add_argument("--offline", action="store_true", help="write what would be sent, and send nothing")
    given = parser.parse_args(argv)
    from tracking.dashboard import Place, publish

    try:
        found = publish(Place(given.project, given.entity), given.outputs, given.offline)
    except UserError as error:
        print(one_line(error), file=sys.stderr)
        return 2
    online = found[0].startswith("http")
    print("made or updated:" if online else "no connection to W&B, or none wanted; what would be sent:")
    print("\n".join(f"  {item}" for item in found))
    return 0


def summary_of(doc: str | None) -> str:
    """The first clause of a docstring."""
    return (doc or "").split("\n")[0].split(";")[0].split(". ")[0].rstrip(".")


def main() -> None:
    """The command `rlhf-lab VERB …`: what `python VERB.py …` does in a clone, from any folder."""
    verbs = [*PROGRAMS, "dashboard"]
    asked = sys.argv[1] if len(sys.argv) > 1 else "--help"
    command = Path(sys.argv[0]).stem.replace("_", "-")
    if asked in ("--help", "-h"):
        print(f"usage: {command} VERB [--help] [KEY=VALUE …]\n\nverbs:")
        for name, program in PROGRAMS.items():
            print(f"  {name:10}{summary_of((program.stage or program.talk).__doc__)}")
        print(f"  {'dashboard':10}{summary_of(dashboard.__doc__)}")
        print(f"\n{command} VERB --help lists the keys of a verb.")
        return
    if asked not in verbs:
        print(
            f"{one_line(asked)}: not a verb{nearest(asked, verbs) or '; one of ' + ', '.join(verbs)}", file=sys.stderr
        )
        sys.exit(2)
    # As argparse names subcommands: what follows is the verb's own.
    sys.argv = [f"{command} {asked}", *sys.argv[2:]]
    if asked == "dashboard":
        sys.exit(dashboard())
    PROGRAMS[asked]()
