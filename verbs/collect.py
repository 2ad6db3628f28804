"""Preferences: several sampled answers per prompt, ranked by an annotator, in the ranked JSONL that stages read."""

from __future__ import annotations

import json
import logging
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import cast

from rich.console import Console

from rlhf.config import CollectConfig
from rlhf.data.assistant import judge
from rlhf.data.assistant.annotator import ceiling
from rlhf.data.readers import read
from rlhf.data.records import Prompt, asked
from rlhf.errors import ConfigError, DataError
from rlhf.evaluation.judges.annotators import Annotator, NoisyJudge, ScoreAnnotator
from rlhf.evaluation.judges.reward_models import check_scores
from rlhf.evaluation.reward_model.pairs import Labelled
from rlhf.runs import Run, atomic_write_text
from rlhf.runs.files import writing
from rlhf.terminal import plain, table
from tracking.verbs import log_collection, wandb_run_of
from verbs.answer_pool import given_answers, new_answers, written_by_model
from verbs.completions import Kept
from verbs.endpoints.annotator import EndpointAnnotator
from verbs.finished_model import Loaded, load_model, load_reward_judge
from verbs.fresh_agreement import fresh_agreement, pairs_of, ranked_samples
from verbs.people import compared_by_people
from verbs.selection import selected

FILE, COMPLETIONS = "preferences.jsonl", "completions.jsonl"
BATCHES = 8
"""Batches of `rollout.max_rows` that are sampled before their answers are put on disk."""

log = logging.getLogger("rlhf")


def run_collect(config: CollectConfig, run: Run, overrides: list[str]) -> float | None:
    """Collect, and log it where that is wanted; returns the number of rankings.

    Raises:
        UserError: the model, the data or the annotator can't be had.
    """
    if (init := run.parents.get("model.init")) is not None:
        log.info("%s", init.reason)
    with wandb_run_of(config, run, "collect") as wandb_run:
        rankings = perform(config, run)
        if wandb_run is not None:
            log_collection(wandb_run, config, run, run.dir / FILE)
    return float(rankings)


def perform(config: CollectConfig, run: Run) -> int:
    """Sample, mix in graded candidates, rank, write; returns the number of rankings.

    Raises:
        UserError: the model, the data or the annotator can't be had.
    """
    settings = config.collect
    # What can fail without a model fails before any is asked.
    reader = EndpointAnnotator(settings) if settings.annotator == "endpoint" else None
    loaded, gold = None, annotates_by_judge(config)
    if settings.needs_model:
        loaded = load_model(run.parents["model.init"], config.strategy, config.rollout.max_new_tokens)
    kept = Kept(run.dir / COMPLETIONS, run.id)
    if loaded is None or settings.answers is not None:
        pool = given_answers(config)
    else:
        pool = new_answers(config, loaded, kept, with_candidates=gold)
    pool, chosen = (pool, {}) if settings.select is None else selected(config, run, pool, loaded)
    prompts, answers = [one.prompt for one in pool], [one.texts for one in pool]
    if settings.annotator == "people":
        return ranked_by_people(config, run, loaded, prompts, answers, kept)
    annotator: Annotator
    annotator = NoisyJudge(config.seed, settings.noise) if gold else reader or _by_reward_model(config, run, loaded)
    ranks = annotator.rank(prompts, answers)
    made_by = reader.made_by if reader is not None else {}
    lines, counts = [], Counter(prompts=len(prompts))
    for prompt, texts, ranked in zip(prompts, answers, ranks, strict=True):
        if ranked is None or len(texts) < 2:
            counts["without_opinion" if ranked is None else "all_answers_equal"] += 1
            continue
        responses = [{"text": text, "rank": rank} for text, rank in zip(texts, ranked, strict=True)]
        lines.append(json.dumps({**asked(prompt), "responses": responses, **made_by}, ensure_ascii=False))
        counts["pairs"] += sum(a < b for a in ranked for b in ranked)
    if counts["without_opinion"]:
        log.warning(
            "%d of %d prompts have an answer without a score, and are left out", counts["without_opinion"], len(prompts)
        )
    if not lines:
        raise DataError("no prompt has two different completions with scores; raise collect.samples")
    if not counts["pairs"]:
        log.warning("all rankings are ties, so there is nothing to learn from")
    write_preferences(run, lines)
    final: dict[str, float] = {"rankings": len(lines), "pairs": counts["pairs"]}
    if (proxy := run.parents.get("collect.proxy")) is not None:
        labelled = ranked_samples(prompts, [written_by_model(one) for one in pool], answers, ranks)
        final |= fresh_agreement(config, proxy, loaded.max_length if loaded else None, labelled)
    final |= chosen
    if gold:
        final |= _gold_facts(prompts, answers, settings.noise)
    if reader is not None:
        final |= reader.facts()
    conclude(run, final, kept)
    _show(prompts, answers, ranks)
    return len(lines)


def write_preferences(run: Run, lines: Sequence[str]) -> None:
    """Put the file in its place, whole."""
    with writing(run.dir / FILE):
        atomic_write_text(run.dir / FILE, "\n".join(lines) + "\n")


def conclude(run: Run, final: dict[str, float], kept: Kept) -> None:
    """Say and write what was collected; the answers need not be kept any more."""
    log.info("%s", "  ".join(f"{name} {value:.4g}" for name, value in final.items()))
    run.save(final={name: round(value, 6) for name, value in final.items()}, steps=int(final["rankings"]))
    kept.forget()
    log.info("preferences: %s", run.dir / FILE)


def ranked_by_people(
    config: CollectConfig,
    run: Run,
    loaded: Loaded | None,
    prompts: Sequence[Prompt],
    answers: Sequence[Sequence[str]],
    kept: Kept,
) -> int:
    """What follows sampling where people are the annotator; returns the number of comparisons and rankings.

    Raises:
        WaitsForPeople: their votes are still to come.
    """
    write_preferences(run, compared_by_people(config, run, prompts, answers))
    labelled = cast(list[Labelled], read(str(run.dir / FILE), "comparisons").items)
    final: dict[str, float] = {"rankings": len(labelled), "pairs": sum(map(pairs_of, labelled))}
    if (proxy := run.parents.get("collect.proxy")) is not None:
        final |= fresh_agreement(config, proxy, loaded.max_length if loaded else None, labelled)
    conclude(run, final, kept)
    return len(labelled)


def annotates_by_judge(config: CollectConfig) -> bool:
    """Whether the embedded task's judge ranks."""
    automatic = config.collect.annotator == "auto" and config.data.source == "assistant"
    return config.collect.annotator == "gold" or automatic


def _gold_facts(prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], noise: float) -> dict[str, float]:
    """How good the answers are, and how well the noisy labels could be predicted at best."""
    pairs = zip(prompts, answers, strict=True)
    scores = [[verdict.score for text in texts if (verdict := judge(prompt, text))] for prompt, texts in pairs]
    best = [statistics.fmean(found) for mine in scores if (found := ceiling(mine, noise))]
    return {
        "mean_score": statistics.fmean(score for mine in scores for score in mine),
        "ceiling": statistics.fmean(best),
    }


def _by_reward_model(config: CollectConfig, run: Run, loaded: Loaded | None) -> Annotator:
    parent = run.parents.get("collect.reward_model")
    if parent is None:
        raise ConfigError(
            f"collect.annotator: data={config.data.name} has no judge of its own; "
            "pass collect.annotator=reward collect.reward_model=RUN, or collect.annotator=endpoint"
        )
    judge = load_reward_judge("collect.reward_model", parent, config.strategy, loaded.max_length if loaded else None)

    def scores(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float | None]:
        found = judge.scores(prompts, answers)
        if wrong := check_scores("collect.reward_model", judge):
            log.warning("the reward model gives NaN or infinity to %d answers; their prompts are left out", wrong)
        return found

    return ScoreAnnotator(scores)


def _show(prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], ranks: Sequence[tuple[int, ...] | None]) -> None:
    """Two rankings, to show what was collected."""
    rows: list[tuple[object, object]] = []
    for prompt, texts, ranked in list(zip(prompts, answers, ranks, strict=True))[:2]:
        if ranked is not None:
            rows += [("", plain(prompt.text, "bold")), *sorted(zip(ranked, texts, strict=True))]
    Console().print(table(["rank", "answer"], rows, title="two of them", title_justify="left"))
