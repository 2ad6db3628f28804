"""Preferences: several sampled answers per prompt, ranked by an annotator, in the ranked JSONL that stages read."""

from __future__ import annotations

import json
import logging
import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice
from random import Random
from typing import cast

from rich.console import Console

from rlhf.config import CollectConfig, DataConfig
from rlhf.data.assistant import judge
from rlhf.data.assistant.annotator import ceiling
from rlhf.data.assistant.answers import draw_candidates
from rlhf.data.assistant.questions import recognise
from rlhf.data.readers import read
from rlhf.data.records import Kind, Prompt, as_prompts, asked
from rlhf.data.rows import Row
from rlhf.data.splits import fraction_of
from rlhf.errors import ConfigError, DataError
from rlhf.evaluation.judges.annotators import Annotator, NoisyJudge, ScoreAnnotator
from rlhf.evaluation.judges.reward_models import check_scores
from rlhf.evaluation.reward_model.pairs import Labelled
from rlhf.progress import ProgressBar
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.uniforms import EVALUATE
from rlhf.runs import Run, atomic_write_text
from rlhf.runs.files import writing
from rlhf.terminal import plain, table
from tracking.verbs import log_collection, wandb_run_of
from verbs.completions import Kept
from verbs.datasets import load_data
from verbs.finished_model import Loaded, load_model, load_reward_judge
from verbs.fresh_agreement import fresh_agreement, pairs_of, ranked_samples
from verbs.people import compared_by_people

FILE, COMPLETIONS = "preferences.jsonl", "completions.jsonl"
BATCHES = 8
"""Batches of `rollout.max_rows` that are sampled before their answers are put on disk."""

log = logging.getLogger("rlhf")


def run_collect(config: CollectConfig, run: Run, overrides: list[str]) -> float | None:
    """Collect, and log it where that is wanted; returns the number of rankings.

    Raises:
        UserError: the model, the data or the annotator can't be had.
    """
    log.info("%s", run.parents["model.init"].reason)
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
    loaded = load_model(run.parents["model.init"], config.strategy, config.rollout.max_new_tokens)
    pool = prompts_of(config.data, "comparisons")
    prompts = part_of(pool, settings.part, settings.parts, config.data.seed)[: settings.prompts]
    rows = loaded.rows(prompts, config.data.on_error)
    prompts = [prompts[row.index] for row in rows]
    kept = Kept(run.dir / COMPLETIONS, run.id)
    sampled = answers = sample_answers(config, loaded, rows, kept)
    if gold := annotates_by_judge(config):
        answers = [mix_in(config, prompt, texts) for prompt, texts in zip(prompts, answers, strict=True)]
    answers = [shuffled(config.seed, p, texts) for p, texts in zip(prompts, answers, strict=True)]
    if settings.annotator == "people":
        return ranked_by_people(config, run, loaded, prompts, answers, kept)
    annotator: Annotator = NoisyJudge(config.seed, settings.noise) if gold else _by_reward_model(config, run, loaded)
    ranks = annotator.rank(prompts, answers)
    lines, counts = [], Counter(prompts=len(prompts))
    for prompt, texts, ranked in zip(prompts, answers, ranks, strict=True):
        if ranked is None or len(texts) < 2:
            counts["without_opinion" if ranked is None else "all_answers_equal"] += 1
            continue
        responses = [{"text": text, "rank": rank} for text, rank in zip(texts, ranked, strict=True)]
        lines.append(json.dumps({**asked(prompt), "responses": responses}, ensure_ascii=False))
        counts["pairs"] += sum(a < b for a in ranked for b in ranked)
    if counts["without_opinion"]:
        log.warning(
            "%d of %d prompts have an answer without a score, and are left out", counts["without_opinion"], len(prompts)
        )
    if not lines:
        raise DataError("no prompt has two different completions with scores; raise collect.samples")
    write_preferences(run, lines)
    final: dict[str, float] = {"rankings": len(lines), "pairs": counts["pairs"]}
    if (proxy := run.parents.get("collect.proxy")) is not None:
        labelled = ranked_samples(prompts, sampled, answers, ranks)
        final |= fresh_agreement(config, proxy, loaded.max_length, labelled)
    if gold:
        final |= _gold_facts(prompts, answers, settings.noise)
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
    loaded: Loaded,
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
        final |= fresh_agreement(config, proxy, loaded.max_length, labelled)
    conclude(run, final, kept)
    return len(labelled)


def annotates_by_judge(config: CollectConfig) -> bool:
    """Whether the embedded task's judge ranks."""
    automatic = config.collect.annotator == "auto" and config.data.source == "assistant"
    return config.collect.annotator == "gold" or automatic


def prompts_of(data: DataConfig, kind: Kind) -> list[Prompt]:
    """Prompts of the training and validation parts, each once; what is held out for the test stays out."""
    dataset = load_data(data, kind if data.source == "assistant" else "prompts")
    return as_prompts([*dataset.train, *dataset.val])


def part_of(prompts: Sequence[Prompt], part: int, parts: int, seed: int) -> list[Prompt]:
    """The prompts of one of so many parts, which are alike and share none; after the last part comes the first again.

    Which part a prompt is in depends on the prompts and `seed` alone; they stay in their order.
    """
    # Salted: the hash that splits data would put all that is held out for validation into one part.
    dealt = sorted(range(len(prompts)), key=lambda i: fraction_of(f"part\n{prompts[i].key}", seed))
    return [prompts[i] for i in sorted(dealt[(part - 1) % parts :: parts])]


def sample_answers(config: CollectConfig, loaded: Loaded, rows: Sequence[Row], kept: Kept) -> list[list[str]]:
    """Different answers of each prompt: one at each temperature and top-k in turn, doubles and empty ones left out.

    Args:
        kept: answers of an earlier try, which are not sampled again; what is sampled is added at once.
    """
    settings = config.collect
    sampler = loaded.sampler(config.rollout.engine, config.rollout.max_rows)
    answers: list[dict[str, None]] = [{} for _ in rows]
    ways = zip(cycle(settings.temperatures), cycle(settings.top_k), strict=False)
    size = config.rollout.max_rows * BATCHES
    for number, (temperature, top_k) in enumerate(islice(ways, settings.samples)):
        sampling = Sampling(loaded.max_new_tokens, temperature, top_k, config.rollout.top_p)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            texts = kept.find(number, start, len(part))
            if texts is None:
                with ProgressBar(f"answers at temperature {temperature:g}", len(part)) as progress:
                    completions = sampler.sample(
                        [Request(row.index, row.prompt) for row in part],
                        sampling,
                        seed=config.seed,
                        iteration=number,
                        stream=EVALUATE,
                        progress=progress,
                    )
                texts = [loaded.template.parse(completion.tokens) for completion in completions]
                kept.add(number, start, texts)
            for mine, text in zip(answers[start : start + size], texts, strict=True):
                if text.strip():  # readers refuse an answer that is nothing but white space
                    mine[text] = None
        log.info("sampled %d of %d at temperature %g", number + 1, settings.samples, temperature)
    return [list(texts) for texts in answers]


def mix_in(config: CollectConfig, prompt: Prompt, texts: list[str]) -> list[str]:
    """The sampled answers and graded candidates, among them one of a kind that does not suit the question."""
    question = recognise(prompt.text)
    if question is None:
        return texts
    random = Random(f"candidates {config.seed} {prompt.key}")
    return list(dict.fromkeys([*texts, *draw_candidates(question, config.collect.candidates, random)]))


def shuffled(seed: int, prompt: Prompt, texts: list[str]) -> list[str]:
    """The answers in an order that does not depend on where they come from."""
    return Random(f"order {seed} {prompt.key}").sample(texts, len(texts))


def _gold_facts(prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], noise: float) -> dict[str, float]:
    """How good the answers are, and how well the noisy labels could be predicted at best."""
    pairs = zip(prompts, answers, strict=True)
    scores = [[verdict.score for text in texts if (verdict := judge(prompt, text))] for prompt, texts in pairs]
    best = [statistics.fmean(found) for mine in scores if (found := ceiling(mine, noise))]
    return {
        "mean_score": statistics.fmean(score for mine in scores for score in mine),
        "ceiling": statistics.fmean(best),
    }


def _by_reward_model(config: CollectConfig, run: Run, loaded: Loaded) -> Annotator:
    parent = run.parents.get("collect.reward_model")
    if parent is None:
        raise ConfigError(
            f"collect.annotator: data={config.data.name} has no judge of its own; "
            "pass collect.annotator=reward collect.reward_model=RUN"
        )
    judge = load_reward_judge("collect.reward_model", parent, config.strategy, loaded.max_length)

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
