"""Reward models in an evaluation: loaded, asked for scores, and measured against labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rlhf.config import EvaluateConfig
from rlhf.data.readers import read
from rlhf.data.records import Prompt
from rlhf.errors import ConfigError, DataError
from rlhf.evaluation.answers import Answer
from rlhf.evaluation.judges.reward_models import check_scores
from rlhf.evaluation.judges.scorers import EnsembleJudge, Judge, RewardJudge
from rlhf.evaluation.outcome import Evaluation, Replies
from rlhf.evaluation.reward_model.best_of import BestOf, best_of_curve
from rlhf.evaluation.reward_model.pairs import Scores
from rlhf.evaluation.reward_model.preferences import (
    Agreement,
    agreement,
    best_accuracy,
    best_of,
    noisy_rankings,
    slicer_of,
)
from rlhf.models.process_scorer import is_process_model
from rlhf.runs import Parent, Run
from verbs.finished_model import load_reward_judge
from verbs.unseen import HeldOut

RANKED = 4
"""Samples of the reference in each ranking of the embedded task, as in its preferences."""

Scorer = RewardJudge | EnsembleJudge

log = logging.getLogger("rlhf")


def load_scorer_of(config: EvaluateConfig, run: Run, reads: int | None) -> Scorer | None:
    """The reward model, or the ensemble in its place, each with its own tokenizer; `None` where there is none.

    Args:
        reads: longest prompt and answer of the models, tokens; `None` without models: as the reward model was trained.
    """
    steps = config.evaluation.step_combine
    members = {key: parent for key, parent in run.parents.items() if key.startswith("evaluation.ensemble.")}
    if members:
        judges = {
            name: load_reward_judge(key, members[key], config.strategy, reads, steps)
            for key, name in _names(members).items()
        }
        _check_steps(steps, list(judges.values()))
        return EnsembleJudge(judges, config.evaluation.combine, config.evaluation.combine_coef)
    parent = run.parents.get("evaluation.reward_model")
    if parent is None:
        _check_steps(steps, [])
        return None
    judge = load_reward_judge("evaluation.reward_model", parent, config.strategy, reads, steps)
    _check_steps(steps, [judge])
    return judge


def _check_steps(combine: str, judges: Sequence[RewardJudge]) -> None:
    """Refuse a way to combine steps that nothing would read, and an ensemble of logits and probabilities."""
    known = [is_process_model(judge.model) for judge in judges]
    if any(known) and not all(known):
        raise ConfigError(
            "evaluation.ensemble: some are process reward models, whose scores are probabilities, and some are not; "
            "name models of one kind"
        )
    if combine != "min" and not any(known):
        raise ConfigError(
            f"evaluation.step_combine: {combine} is for process reward models, and none is used here; leave it out, or "
            "pass evaluation.reward_model=RUN of algo=process-reward"
        )


def _names(members: dict[str, Parent]) -> dict[str, str]:
    """Of directories, where they differ, else numbers from 1."""
    names = {key: parent.dir.name if parent.dir is not None else str(parent.name) for key, parent in members.items()}
    if len(set(names.values())) == len(names):
        return names
    return {key: str(i) for i, key in enumerate(members, 1)}


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
    if wrong := _not_finite(scorer):
        evaluation.judge_details["not_finite"] = wrong


def curve(prompts: list[Prompt], samples: list[list[Answer]], scorer: Scorer, judge: Judge) -> list[BestOf]:
    """Best-of-k for k up to the number of samples, each of which the judge marks."""
    asked = [prompt for prompt, mine in zip(prompts, samples, strict=True) for _ in mine]
    texts = [answer.text for mine in samples for answer in mine]
    rewards, marks = iter(scorer.scores(asked, texts)), iter(judge(asked, texts))
    return best_of_curve(
        [[next(rewards) for _ in mine] for mine in samples],
        [[None if (mark := next(marks)) is None else mark.score for _ in mine] for mine in samples],
    )


def _not_finite(scorer: Scorer) -> int:
    """Answers without a finite score, told in the log.

    Raises:
        ParentError: a reward model has none at all.
    """
    if isinstance(scorer, EnsembleJudge):
        for name, member in scorer.members.items():
            check_scores(f"evaluation.ensemble: {name}", member)
    else:
        check_scores("evaluation.reward_model", scorer)
    if wrong := len(scorer.not_finite):
        log.warning("the reward model gives NaN or infinity to %d answers; they and their pairs are left out", wrong)
    return wrong


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
        log.warning(
            "%s: %d pairs are too long for the reward model, or got no finite score",
            path,
            len(records.items) - found.pairs,
        )
    return found
