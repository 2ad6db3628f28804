"""Reward models in an evaluation: loaded, asked for scores, and measured against labels."""

from __future__ import annotations

import logging
from typing import Any

from launch.answering import context_of
from launch.held_out import HeldOut
from launch.loaded import DEFAULT_LENGTH, lengths_of, load_reward_model
from rlhf.config import EvaluateConfig
from rlhf.data.readers import read
from rlhf.data.records import Prompt
from rlhf.data.templates import template_for
from rlhf.data.tokenizers import load_tokenizer
from rlhf.errors import DataError
from rlhf.evaluation.answers import Answer
from rlhf.evaluation.best_of import best_of_curve
from rlhf.evaluation.judges import EnsembleJudge, Judge, RewardJudge
from rlhf.evaluation.pairs import Scores
from rlhf.evaluation.preferences import Agreement, agreement, best_accuracy, best_of, noisy_rankings, slicer_of
from rlhf.evaluation.report import Evaluation, Replies
from rlhf.runs import Parent, Run

RANKED = 4
"""Samples of the reference in each ranking of the embedded task, as in its preferences."""

Scorer = RewardJudge | EnsembleJudge

log = logging.getLogger("rlhf")


def load_scorer_of(config: EvaluateConfig, run: Run, reads: int | None) -> Scorer | None:
    """The reward model, or the ensemble in its place, each behind its own tokenizer; `None` where there is none.

    Args:
        reads: longest prompt and answer of the models, tokens; `None` without models: as the reward model was trained.
    """
    members = {key: parent for key, parent in run.parents.items() if key.startswith("evaluation.ensemble.")}
    if members:
        judges = {name: _reward_judge(config, members[key], reads) for key, name in _names(members).items()}
        return EnsembleJudge(judges, "min" if config.evaluation.combine == "min" else "mean")
    parent = run.parents.get("evaluation.reward_model")
    return _reward_judge(config, parent, reads) if parent is not None else None


def _names(members: dict[str, Parent]) -> dict[str, str]:
    """Of directories, where they differ, else numbers from 1."""
    names = {key: parent.dir.name if parent.dir is not None else str(parent.name) for key, parent in members.items()}
    if len(set(names.values())) == len(names):
        return names
    return {key: str(i) for i, key in enumerate(members, 1)}


def _reward_judge(config: EvaluateConfig, parent: Parent, reads: int | None) -> RewardJudge:
    template = template_for(load_tokenizer("auto", parent.source))
    model = load_reward_model(parent, template, config.strategy)
    max_length = reads or lengths_of(parent).total or DEFAULT_LENGTH
    return RewardJudge(model, template, min(max_length, context_of(model.hf) or max_length))


def use_scorer(
    config: EvaluateConfig, evaluation: Evaluation, scorer: Scorer, samples: list[list[Answer]], held: HeldOut
) -> None:
    """Best-of-n, the reward of every answer, and what the reward model is worth on labels."""
    prompts = evaluation.prompts
    if samples:
        asked = [prompt for prompt, mine in zip(prompts, samples, strict=True) for _ in mine]
        scores = iter(scorer.scores(asked, [answer.text for mine in samples for answer in mine]))
        evaluation.best = Replies([mine[best_of([next(scores) for _ in mine])] for mine in samples])
    for asked, replies in evaluation.all_replies():
        replies.rewards = scorer.scores(asked, [answer.text for answer in replies.answers])
    members = _members(scorer)
    if config.data.source == "assistant":
        texts = [[answer.text for answer in mine[:RANKED]] for mine in samples]
        if not texts and evaluation.models:
            texts = [[answer.text] for answer in evaluation.models[evaluation.reference].replies.answers]
        asked = prompts if evaluation.models else held.prompts
        texts = texts or [[] for _ in asked]
        rankings = noisy_rankings(asked, texts, config.seed)
        slicer = slicer_of(dict(zip(asked, texts, strict=True)))
        evaluation.reward_model = agreement(rankings, scorer.scores, best_accuracy(rankings), slicer, members)
    else:
        evaluation.reward_model = agreement(held.comparisons, scorer.scores, members=members)
    if config.evaluation.reward_bench is not None:
        evaluation.reward_bench = _bench(config, scorer, members)


def curve(prompts: list[Prompt], samples: list[list[Answer]], scorer: Scorer, judge: Judge) -> list[dict[str, Any]]:
    """Best-of-k for k up to the number of samples, each of which the judge marks."""
    asked = [prompt for prompt, mine in zip(prompts, samples, strict=True) for _ in mine]
    texts = [answer.text for mine in samples for answer in mine]
    rewards, marks = iter(scorer.scores(asked, texts)), iter(judge(asked, texts))
    return best_of_curve(
        [[next(rewards) for _ in mine] for mine in samples],
        [[None if (mark := next(marks)) is None else mark.score for _ in mine] for mine in samples],
    )


def _members(scorer: Scorer) -> dict[str, Scores]:
    return {name: member.scores for name, member in scorer.members.items()} if isinstance(scorer, EnsembleJudge) else {}


def _bench(config: EvaluateConfig, scorer: Scorer, members: dict[str, Scores]) -> Agreement:
    path = str(config.evaluation.reward_bench)
    try:
        records = read(path, "comparisons", config.data.on_error)  # type: ignore[arg-type]
    except DataError as error:
        raise DataError(f"evaluation.reward_bench: {error}") from error
    found = agreement(records.items, scorer.scores, members=members)
    if found is None:
        raise DataError(f"evaluation.reward_bench: {path}: the reward model can read none of its pairs")
    if found.pairs < len(records.items):
        log.warning("%s: %d pairs are too long for the reward model", path, len(records.items) - found.pairs)
    return found
