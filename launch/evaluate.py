"""Several models side by side: their answers are judged, compared, and written down."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from launch.allocator import keep_freed_memory
from launch.answering import Collected, collect_answers, context_of, reference_of
from launch.held_out import HeldOut, guide_prompts, held_out
from launch.loaded import load_reward_model
from launch.reporting import try_report
from launch.trainer import quiet_libraries
from rlhf.config import EvaluateConfig
from rlhf.data.records import Prompt
from rlhf.data.templates import template_for
from rlhf.data.tokenizers import load_tokenizer
from rlhf.errors import DataError
from rlhf.evaluation.answers import Answer
from rlhf.evaluation.best_of import best_of_curve
from rlhf.evaluation.judges import GoldJudge, Judge, RewardJudge
from rlhf.evaluation.markdown import report
from rlhf.evaluation.preferences import agreement, best_accuracy, best_of, noisy_rankings
from rlhf.evaluation.report import Contestant, Evaluation, Replies
from rlhf.runs import Run, atomic_write_json, atomic_write_text

RANKED = 4
"""Samples of the reference in each ranking of the embedded task, as in its preferences."""

log = logging.getLogger("rlhf")


def run_evaluate(config: EvaluateConfig, run: Run, overrides: list[str]) -> float | None:
    """Sample, judge, compare, write; returns the last model's score, for sweepers.

    Raises:
        UserError: the data or a model can't be had.
    """
    quiet_libraries()
    if config.strategy.accelerator != "gpu":
        keep_freed_memory()
    if config.strategy.threads is not None:
        torch.set_num_threads(config.strategy.threads)
    for parent in run.parents.values():
        log.info("%s", parent.reason)
    settings = config.evaluation
    held = held_out(config.data, settings.prompts, settings.texts)
    guide = guide_prompts() if settings.guide else []
    collected = collect_answers(config, run, held, guide)
    evaluation = compare(config, run, held, guide, collected)
    write(evaluation, run, settings.shown)
    names = list(evaluation.models)
    return evaluation.models[names[-1]].replies.metrics()["score"]


def compare(
    config: EvaluateConfig, run: Run, held: HeldOut, guide: list[Prompt], collected: dict[str, Collected]
) -> Evaluation:
    """Marks, rewards and comparisons over the prompts that every model could read."""
    kept = [i for i in range(len(held.prompts)) if all(i in model.answers for model in collected.values())]
    shown = [i for i in range(len(guide)) if all(i in model.guide for model in collected.values())]
    if not kept:
        raise DataError(
            "rollout.max_new_tokens: one of the models has no room for any of the prompts beside so long an answer; "
            "lower it"
        )
    reference = reference_of(config, list(collected))
    evaluation = Evaluation(
        prompts=[held.prompts[i] for i in kept],
        guide=[guide[i] for i in shown],
        models={
            name: Contestant(
                str(run.parents[f"models.{name}"].record()["directory"]),
                Replies([model.answers[i] for i in kept]),
                Replies([model.guide[i] for i in shown]),
                model.kl,
                model.bits_per_byte,
            )
            for name, model in collected.items()
        },
        judge=judge_of(config, run),
        reference=reference,
        best_n=config.evaluation.best_of,
    )
    if dropped := len(held.prompts) - len(kept):
        log.warning("%d prompts are too long for one of the models and left out for all", dropped)
    scorer = _reward_judge(config, run, max(model.reads for model in collected.values()))
    samples = [collected[reference].best[i] for i in kept] if collected[reference].best else []
    if scorer is not None:
        _use_reward_model(config, evaluation, scorer, samples, held)
    judge: Judge | None = {"gold": GoldJudge(), "reward": scorer, "none": None}[evaluation.judge]
    if judge is not None:
        for prompts, replies in _all_replies(evaluation):
            replies.marks = judge(prompts, [answer.text for answer in replies.answers])
        if scorer is not None and samples:
            evaluation.best_curve = curve(evaluation.prompts, samples, scorer, judge)
    evaluation.facts = facts(config, run, evaluation)
    return evaluation


def curve(
    prompts: list[Prompt], samples: list[list[Answer]], scorer: RewardJudge, judge: Judge
) -> list[dict[str, Any]]:
    """Best-of-k for k up to the number of samples, each of which the judge marks."""
    asked = [prompt for prompt, mine in zip(prompts, samples, strict=True) for _ in mine]
    texts = [answer.text for mine in samples for answer in mine]
    rewards, marks = iter(scorer.scores(asked, texts)), iter(judge(asked, texts))
    return best_of_curve(
        [[next(rewards) for _ in mine] for mine in samples],
        [[None if (mark := next(marks)) is None else mark.score for _ in mine] for mine in samples],
    )


def _use_reward_model(
    config: EvaluateConfig, evaluation: Evaluation, scorer: RewardJudge, samples: list[list[Answer]], held: HeldOut
) -> None:
    """Best-of-n, the reward of every answer, and how often the reward model agrees with labels."""
    prompts = evaluation.prompts
    if samples:
        asked = [prompt for prompt, mine in zip(prompts, samples, strict=True) for _ in mine]
        scores = iter(scorer.scores(asked, [answer.text for mine in samples for answer in mine]))
        evaluation.best = Replies([mine[best_of([next(scores) for _ in mine])] for mine in samples])
    for asked, replies in _all_replies(evaluation):
        replies.rewards = scorer.scores(asked, [answer.text for answer in replies.answers])
    if config.data.source == "assistant":
        single = [[answer] for answer in evaluation.models[evaluation.reference].replies.answers]
        texts = [[answer.text for answer in mine[:RANKED]] for mine in samples or single]
        rankings = noisy_rankings(prompts, texts, config.seed)
        evaluation.reward_model = agreement(rankings, scorer.scores, best_accuracy(rankings))
    else:
        evaluation.reward_model = agreement(held.comparisons, scorer.scores)


def _all_replies(evaluation: Evaluation) -> list[tuple[list[Prompt], Replies]]:
    """Everything that was answered, with its prompts."""
    found = [(evaluation.prompts, replies) for replies in evaluation.contestants.values()]
    return found + [(evaluation.guide, model.guide) for model in evaluation.models.values()]


def _reward_judge(config: EvaluateConfig, run: Run, max_length: int) -> RewardJudge | None:
    """The reward model behind its own tokenizer; `None` where there is none."""
    parent = run.parents.get("evaluation.reward_model")
    if parent is None:
        return None
    template = template_for(load_tokenizer("auto", parent.source))
    model = load_reward_model(parent, template, config.strategy)
    return RewardJudge(model, template, min(max_length, context_of(model.hf) or max_length))


def judge_of(config: EvaluateConfig, run: Run) -> str:
    """gold, reward or none."""
    if config.evaluation.judge != "auto":
        return config.evaluation.judge
    if config.data.source == "assistant":
        return "gold"
    return "reward" if "evaluation.reward_model" in run.parents else "none"


def facts(config: EvaluateConfig, run: Run, evaluation: Evaluation) -> dict[str, str]:
    """What was compared and how, for the head of the report."""
    rollout, data = config.rollout, config.data
    drawn = "greedy" if rollout.temperature == 0 else f"temperature {rollout.temperature:g}"
    drawn += f", top_k={rollout.top_k}" if rollout.top_k > 0 else ""
    drawn += f", top_p={rollout.top_p:g}" if rollout.top_p < 1 else ""
    judge = {
        "gold": "the embedded task's own, 0 to 10",
        "reward": "the reward model",
        "none": "none, so there are no scores and no win rates",
    }[evaluation.judge]
    found = {f"`{name}`": model.run for name, model in evaluation.models.items()}
    found["prompts"] = f"{len(evaluation.prompts)} held-out prompts of data={data.name} (data.seed={data.seed})"
    found["samples"] = f"one a prompt, {drawn}, a seed of its own for every model (seed={config.seed})"
    found["judge"] = judge
    found["reference"] = f"`{evaluation.reference}`"
    if parent := run.parents.get("evaluation.reward_model"):
        found["reward model"] = str(parent.record()["directory"])
    unmeasured = [f"`{name}`" for name, model in evaluation.models.items() if model.kl is None]
    if len(unmeasured) == len(evaluation.models):
        found["kl"] = "not measured: greedy answers, top-k and top-p don't draw from a model's own distribution"
    elif unmeasured:
        found["kl"] = f"not measured for {', '.join(unmeasured)}: the reference does not read their tokens"
    return found


def write(evaluation: Evaluation, run: Run, shown: int) -> None:
    """Files, summary, and what the terminal says."""
    atomic_write_json(run.dir / "evaluation.json", evaluation.record())
    atomic_write_text(run.dir / "answers.jsonl", "".join(f"{line}\n" for line in evaluation.lines()))
    atomic_write_text(run.dir / "report.md", report(evaluation, shown))
    run.save(final=evaluation.final())
    console = Console(width=None if sys.stdout.isatty() else 150)
    for title, (header, rows) in (("models", evaluation.headline()), ("win rates", evaluation.win_table())):
        if rows:
            table = Table(title=title, title_justify="left")
            for i, name in enumerate(header):
                table.add_column(name, justify="right" if i else "left")
            for row in rows:
                table.add_row(*row)
            console.print(table)
    if (sentence := evaluation.reward_sentence()) is not None:
        log.info("reward model: %s", sentence)
    page = try_report(run.dir)
    log.info("report: %s", ", ".join(os.path.relpath(file) for file in (run.dir / "report.md", page) if file))
