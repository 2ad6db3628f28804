"""How far a reward model agrees with new labels, on answers of the newest policy: it was trained on those of earlier
ones, so this is where it falls behind first."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence

from rlhf.config import CollectConfig
from rlhf.data.assistant import judge
from rlhf.data.assistant.annotator import ceiling
from rlhf.data.records import Prompt, Ranking
from rlhf.evaluation.reward_model.pairs import Labelled
from rlhf.evaluation.reward_model.preferences import agreement
from rlhf.runs import Parent
from verbs.finished_model import load_reward_judge

log = logging.getLogger("rlhf")


def fresh_agreement(
    config: CollectConfig,
    proxy: Parent,
    reads: int | None,
    labelled: Sequence[Labelled],
) -> dict[str, float]:
    """Numbers of a collection's `summary.json`: `agreement` (0 to 1, a tie of the reward model counts one half) with
    Wilson's 95% interval over prompts, and the best that is possible on labels as noisy as these, where it is known.

    Args:
        reads: longest prompt and answer, tokens; `None`: as the reward model was trained.
        labelled: what the annotator said of answers that the policy wrote.
    """
    scorer = load_reward_judge("collect.proxy", proxy, config.strategy, reads)
    found = agreement(labelled, scorer.scores)
    if found is None:
        log.warning("collect.proxy: no prompt has two answers of the model that the annotator ranks apart")
        return {}
    numbers = {
        "agreement": found.accuracy,
        "agreement_low": found.low,
        "agreement_high": found.high,
        "agreement_prompts": found.n,
    }
    return numbers | (_best(labelled, config) if config.collect.annotator in ("auto", "gold") else {})


def ranked_samples(
    prompts: Sequence[Prompt],
    sampled: Sequence[Sequence[str]],
    answers: Sequence[Sequence[str]],
    ranks: Sequence[tuple[int, ...] | None],
) -> list[Ranking]:
    """The rankings among what the policy wrote; graded candidates that were mixed in say nothing of it."""
    found = []
    for prompt, mine, texts, ranked in zip(prompts, sampled, answers, ranks, strict=True):
        if ranked is not None and (ranking := among(Ranking(prompt, tuple(texts), ranked), set(mine))) is not None:
            found.append(ranking)
    return found


def among(ranking: Ranking, texts: set[str]) -> Ranking | None:
    """The part of a ranking that is about these texts; `None` where it compares none of them."""
    kept = [(text, rank) for text, rank in zip(ranking.responses, ranking.ranks, strict=True) if text in texts]
    if len({rank for _, rank in kept}) < 2:
        return None
    return Ranking(ranking.prompt, tuple(text for text, _ in kept), tuple(rank for _, rank in kept))


def pairs_of(labelled: Labelled) -> int:
    """How many pairs an annotator ranked apart."""
    return len(labelled.pairs()) if isinstance(labelled, Ranking) else 1


def _best(labelled: Sequence[Labelled], config: CollectConfig) -> dict[str, float]:
    """What the embedded task's judge itself reaches on its noisy labels."""
    rankings = [one for one in labelled if isinstance(one, Ranking)]
    scores = [[v.score for text in one.responses if (v := judge(one.prompt, text))] for one in rankings]
    best = [statistics.fmean(found) for mine in scores if (found := ceiling(mine, config.collect.noise))]
    return {"agreement_ceiling": statistics.fmean(best)} if best else {}
