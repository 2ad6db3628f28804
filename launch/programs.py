"""The verbs as command-line programs. What they do is imported once the configuration is valid: a mistyped key should
be reported without waiting for torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from launch.app import Program, with_searchpath
from launch.children import Children
from launch.pipeline import run_pipeline
from launch.stages.graph import separate
from rlhf.config import LoggerConfig, PlanConfig
from rlhf.errors import UserError, nearest
from rlhf.plain_text import one_line

if TYPE_CHECKING:
    from launch.planner import Point


train = Program(
    "train",
    "verbs.train.stage:run_stage",
    about="Train one stage, and export the model that comes out.",
)
collect = Program(
    "collect",
    "verbs.collect:run_collect",
    about="Sample several answers to each prompt, have an annotator rank them, and write the ranked JSONL.",
)
prepare = Program(
    "prepare",
    "verbs.prepare.prepare:run_prepare",
    about="Read sources, filter them, remove duplicates and what evaluations ask, mix and split the rest; write JSONL, "
    "Parquet and a data card.",
)
evaluate = Program(
    "evaluate",
    "verbs.evaluate.evaluate:run_evaluate",
    about="Give several models the same held-out prompts; write scores, win rates, KL and a report, side by side.",
)
merge = Program(
    "merge",
    "verbs.merge:run_merge",
    about="Merge several finished models into one: averaged weights, or interpolation towards what they started from.",
)


def run_stages(point: Point, overrides: list[str]) -> None:
    """Run the stages of a pipeline in order; finished ones are kept, and an interrupted one is continued."""
    single = separate([item for item in with_searchpath(sys.argv[1:]) if not item.startswith("-")])[1]
    run_pipeline(point, overrides, single, Children())


def talk(point: Point, overrides: list[str]) -> None:
    """Talk to a finished run or a model folder. Each line is a turn; /help lists what else can be typed there."""
    from verbs.chat import converse

    converse(point.config, point.parents)


def serve_model(point: Point, overrides: list[str]) -> None:
    """Serve a finished run or a model folder as OpenAI-compatible chat completions, on this machine, until Ctrl-C."""
    from verbs.serve.serve import run_serve

    run_serve(point.config, point.parents)


def print_plan(point: Point, overrides: list[str]) -> None:
    """Print memory, arithmetic, time and cost of a training run, without weights and without running it."""
    from verbs.plan.printed import run_plan

    assert isinstance(point.config, PlanConfig)
    run_plan(point.config)


def write_report(point: Point, overrides: list[str]) -> None:
    """Write one page, report.html, about a run, a sweep or an evaluation; it reads what is there, and runs nothing."""
    from verbs.report import run_report

    run_report(point.config)


def judge_by_hand(point: Point, overrides: list[str]) -> None:
    """Have people judge answers, on a local page or in Label Studio; votes become training data. Report agreement."""
    from verbs.label.label import run_label

    run_label(point.config, point.parents)


pipeline = Program("pipeline", talk=run_stages, prepare=lambda typed: separate(typed)[0])
chat = Program("chat", talk=talk)
serve = Program("serve", talk=serve_model)
plan = Program("plan", talk=print_plan)
report = Program("report", talk=write_report)
label = Program("label", talk=judge_by_hand)

PROGRAMS = {
    program.name: program
    for program in (prepare, train, pipeline, collect, evaluate, merge, chat, serve, plan, report, label)
}


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
            print(f"  {name:10}{summary_of(program.about)}")
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
