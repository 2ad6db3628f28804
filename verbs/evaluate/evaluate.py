"""Several models side by side: their answers are judged, compared, and written down."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import torch
from rich.console import Console

from rlhf.config import EvaluateConfig
from rlhf.data.assistant.questions import recognise
from rlhf.data.records import Prompt
from rlhf.errors import DataError
from rlhf.evaluation.judges.rubric import ReadingJudge
from rlhf.evaluation.judges.scorers import GoldJudge, Judge
from rlhf.evaluation.markdown import harness_table, report
from rlhf.evaluation.outcome import Contestant, Evaluation, Replies
from rlhf.evaluation.overoptimisation.fits_table import fits_table
from rlhf.evaluation.rounds import rounds_table
from rlhf.quiet import quiet_libraries
from rlhf.reporting.charts.overoptimisation import picture
from rlhf.runs import Run, atomic_write_json, atomic_write_text
from rlhf.terminal import table
from tracking.verbs import log_evaluation, wandb_run_of
from verbs.allocator import keep_freed_memory
from verbs.endpoints.reading_judge import reading_judge
from verbs.evaluate.answering import Collected, collect_answers, reference_of
from verbs.evaluate.harness import check_tasks, run_harness
from verbs.evaluate.judging import apply_judge, apply_reading, beside_gold, judge_of
from verbs.evaluate.overoptimisation import samples_of_policies, tracks_of
from verbs.evaluate.reward_models import Scorer, curve, load_scorer_of, use_scorer
from verbs.evaluate.rounds import rounds_of
from verbs.report import try_report
from verbs.unseen import HeldOut, guide_prompts, held_out

log = logging.getLogger("rlhf")


def run_evaluate(config: EvaluateConfig, run: Run, overrides: list[str]) -> float | None:
    """Sample, judge, compare, write; returns the last model's score, for sweepers; without models, the accuracy.

    Raises:
        UserError: the data, a model or a judge can't be had.
    """
    quiet_libraries()
    if config.strategy.accelerator != "gpu":
        keep_freed_memory()
    if config.strategy.threads is not None:
        torch.set_num_threads(config.strategy.threads)
    for parent in run.parents.values():
        log.info("%s", parent.reason)
    with wandb_run_of(config, run, "evaluate") as wandb_run:
        evaluation = perform(config, run)
        write(evaluation, run, config.evaluation.shown)
        if wandb_run is not None:
            log_evaluation(wandb_run, config, run, evaluation)
    if not evaluation.models:
        return evaluation.reward_model.accuracy if evaluation.reward_model is not None else None
    return evaluation.models[list(evaluation.models)[-1]].replies.metrics()["score"]


def perform(config: EvaluateConfig, run: Run) -> Evaluation:
    """Sample, judge, compare.

    Raises:
        UserError: the data, a model or a judge can't be had.
    """
    settings = config.evaluation
    models = {name.removeprefix("models."): p for name, p in run.parents.items() if name.startswith("models.")}
    # What can fail without a model fails before any is asked.
    asks = models and judge_of(config, run) == "endpoint"
    reader = reading_judge("evaluation.endpoint", config.evaluation.endpoint) if asks else None
    tasks = check_tasks(settings) if settings.harness else None
    policies = samples_of_policies(run)
    held = held_out(config.data, settings.prompts, settings.texts, settings.text, settings.split)
    guide = guide_prompts() if settings.guide and models else []
    collected = collect_answers(config, run, held, guide) if models else {}
    evaluation = compare(config, run, held, guide, collected, reader, policies)
    if tasks is not None:
        evaluation.harness = run_harness(settings, config.strategy, models, tasks)
    evaluation.facts = facts(config, run, evaluation)
    return evaluation


def compare(
    config: EvaluateConfig,
    run: Run,
    held: HeldOut,
    guide: list[Prompt],
    collected: dict[str, Collected],
    reader: ReadingJudge | None,
    policies: dict[str, list[dict[str, Any]]],
) -> Evaluation:
    """Marks, rewards and comparisons over the prompts that every model could read."""
    evaluation = side_by_side(config, run, held, guide, collected)
    reads = max((model.reads for model in collected.values()), default=None)
    scorer = load_scorer_of(config, run, reads)
    reference = collected.get(evaluation.reference)
    kept = _kept(len(held.prompts), collected)
    samples = [reference.best[i] for i in kept] if reference is not None and reference.best else []
    if scorer is not None:
        use_scorer(config, evaluation, scorer, samples, held)
    judge = _judge(evaluation.judge, scorer)
    if reader is not None:
        apply_reading(config, reader, evaluation)
    elif judge is not None:
        apply_judge(judge, evaluation)
        if scorer is not None and samples:
            evaluation.best_curve = curve(evaluation.prompts, samples, scorer, judge)
    if config.evaluation.proxies or policies:
        by = _judge(judge_of(config, run), scorer)
        assert by is not None, "a rule of the configuration"
        tracks = tracks_of(config, run, evaluation.prompts, samples, policies, by, reads)
        evaluation.tracks = [track.record(config.seed) for track in tracks]
        evaluation.judge_details.setdefault("unit", by.unit)
    if config.evaluation.rounds and evaluation.models:
        evaluation.rounds = rounds_of(config, run, evaluation, reads)
    if config.data.source == "assistant" and evaluation.judge not in ("gold", "none"):
        beside_gold(evaluation)
    return evaluation


def side_by_side(
    config: EvaluateConfig, run: Run, held: HeldOut, guide: list[Prompt], collected: dict[str, Collected]
) -> Evaluation:
    """What every model answered to the same prompts, not judged yet."""
    if not collected:
        return Evaluation([], [], {}, "none", "", best_n=config.evaluation.best_of)
    kept = _kept(len(held.prompts), collected)
    shown = [i for i in range(len(guide)) if all(i in model.guide for model in collected.values())]
    if not kept:
        raise DataError(
            "rollout.max_new_tokens: no prompt fits into the context of one of the models with a completion of this "
            "length; lower it"
        )
    if dropped := len(held.prompts) - len(kept):
        log.warning(
            "%d prompts are too long for one of the models, or refused by its template, and left out for all", dropped
        )
    prompts = [held.prompts[i] for i in kept]
    return Evaluation(
        prompts=prompts,
        guide=[guide[i] for i in shown],
        models={
            name: Contestant(
                str(run.parents[f"models.{name}"].record()["directory"]),
                Replies([model.answers[i] for i in kept]),
                Replies([model.guide[i] for i in shown]),
                model.kl,
                model.bits_per_byte,
                model.perplexity,
            )
            for name, model in collected.items()
        },
        judge=judge_of(config, run),
        reference=reference_of(config, list(collected)),
        best_n=config.evaluation.best_of,
        categories=categories(config, held, prompts),
    )


def categories(config: EvaluateConfig, held: HeldOut, prompts: list[Prompt]) -> list[str]:
    """The category of each prompt: its kind in the embedded task, else what a file's comparison calls its category or
    subset."""
    if config.data.source == "assistant":
        found = [recognise(prompt.text) for prompt in prompts]
        return ["" if question is None else question.kind for question in found]
    named = {record.prompt: dict(record.tags) for record in held.comparisons if record.tags}
    tags = [named.get(prompt, {}) for prompt in prompts]
    return [mine.get("category") or mine.get("subset") or "" for mine in tags] if named else []


def _kept(prompts: int, collected: dict[str, Collected]) -> list[int]:
    """Numbers of the prompts that every model could read."""
    return [i for i in range(prompts) if all(i in model.answers for model in collected.values())]


def _judge(name: str, scorer: Scorer | None) -> Judge | None:
    if name == "gold":
        return GoldJudge()
    return scorer if name in ("reward", "ensemble") else None


def facts(config: EvaluateConfig, run: Run, evaluation: Evaluation) -> dict[str, str]:
    """What was compared and how, for the head of the report."""
    rollout, data = config.rollout, config.data
    drawn = "greedy" if rollout.temperature == 0 else f"temperature {rollout.temperature:g}"
    drawn += f", top_k={rollout.top_k}" if rollout.top_k > 0 else ""
    drawn += f", top_p={rollout.top_p:g}" if rollout.top_p < 1 else ""
    found = {f"`{name}`": model.run for name, model in evaluation.models.items()}
    for key, parent in run.parents.items():
        if key.startswith("evaluation."):
            label = key.removeprefix("evaluation.")  # names that the user gave stay as they are
            found[label.replace("_", " ") if "." not in label else label] = str(parent.record()["directory"])
    if not evaluation.models:
        return found | {"labels": f"data={data.name} (data.seed={data.seed})"}
    endpoint = config.evaluation.endpoint
    judge = {
        "gold": "the embedded task's own, 0 to 10",
        "reward": "the reward model",
        "ensemble": f"the ensemble of reward models, their scores combined by {config.evaluation.combine}",
        "endpoint": f"{endpoint.model} at {endpoint.url}, temperature {endpoint.temperature:g}",
        "none": "none, so there are no scores and no win rates",
    }[evaluation.judge]
    found["prompts"] = f"{len(evaluation.prompts)} held-out prompts of data={data.name} (data.seed={data.seed})"
    found["samples"] = f"one a prompt, {drawn}, a seed of its own for every model (seed={config.seed})"
    found["judge"] = judge
    found["reference"] = f"`{evaluation.reference}`"
    if wrong := evaluation.judge_details.get("not_finite"):
        found["not finite"] = (
            f"the reward model gave NaN or infinity to {wrong} answers; they and their pairs are left out"
        )
    unmeasured = [f"`{name}`" for name, model in evaluation.models.items() if model.kl is None]
    if len(unmeasured) == len(evaluation.models):
        found["kl"] = "not measured: greedy answers, top-k and top-p don't draw from a model's own distribution"
    elif unmeasured:
        found["kl"] = f"not measured for {', '.join(unmeasured)}: the reference does not read their tokens"
    return found


def write(evaluation: Evaluation, run: Run, shown: int) -> None:
    """Write files, summary, and the lines in the terminal."""
    atomic_write_json(run.dir / "evaluation.json", evaluation.record())
    atomic_write_text(run.dir / "answers.jsonl", "".join(f"{line}\n" for line in evaluation.lines()))
    if evaluation.tracks:
        atomic_write_text(run.dir / "overoptimisation.svg", picture(evaluation.tracks))
    atomic_write_text(run.dir / "report.md", report(evaluation, shown))
    run.save(final=evaluation.final())
    console = Console(width=None if sys.stdout.isatty() else 150)
    tables = {"models": evaluation.headline(), "win rates": evaluation.win_table()}
    if evaluation.rounds:
        tables["rounds"] = rounds_table(evaluation.rounds)
    if evaluation.tracks:
        tables["gold score against KL"] = fits_table(evaluation.tracks)
    if evaluation.harness:
        tables["lm-evaluation-harness"] = harness_table(evaluation)
    for title, (header, rows) in tables.items():
        if rows:
            console.print(table(header, rows, right=True, title=title, title_justify="left"))
    if (sentence := evaluation.reward_sentence()) is not None:
        log.info("reward model: %s", sentence)
    if (bench := evaluation.reward_bench) is not None:
        log.info("reward bench: %.1f%% of %d pairs", 100 * bench.accuracy, bench.pairs)
    page = try_report(run.dir)
    if evaluation.tracks:
        log.info("picture: %s", os.path.relpath(run.dir / "overoptimisation.svg"))
    log.info("report: %s", ", ".join(os.path.relpath(file) for file in (run.dir / "report.md", page) if file))
