"""Over-optimisation of proxies: best-of-n by each, and runs that were trained against them, marked by the judge."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from typing import Any

from rlhf.config import EvaluateConfig
from rlhf.data.records import Prompt
from rlhf.errors import ParentError
from rlhf.evaluation.answers import Answer
from rlhf.evaluation.findings import MIN_TEXTS, by_step
from rlhf.evaluation.judges.reward_models import check_scores
from rlhf.evaluation.judges.scorers import Judge
from rlhf.evaluation.overoptimisation.gold_against_kl import Track, of_best_of_n, of_samples
from rlhf.evaluation.reward_model.best_of import whole_prompts
from rlhf.reporting.run_files import read_raw_samples
from rlhf.runs import Parent, Run, Summary
from verbs.finished_model import load_reward_judge

PROXIES, POLICIES = "evaluation.proxies.", "evaluation.policies."

log = logging.getLogger("rlhf")


def samples_of_policies(run: Run) -> dict[str, list[dict[str, Any]]]:
    """What each run of `evaluation.policies` wrote during training, by name.

    Raises:
        ParentError: one has no samples with scores and KL from its start on, or was trained against another proxy than
            the one of its name.
    """
    found = {}
    for key, parent in run.parents.items():
        if key.startswith(POLICIES):
            name = key.removeprefix(POLICIES)
            _check_proxy(key, parent, run.parents.get(f"{PROXIES}{name}"))
            samples = read_raw_samples(parent.dir) if parent.kind == "run" and parent.dir is not None else []
            usable = [s for s in samples if {"score", "kl"} <= s.keys() and all(len(turn) == 2 for turn in s["prompt"])]
            groups = by_step(usable)
            if not groups or min(groups) != 0 or min(map(len, groups.values())) < MIN_TEXTS:
                raise ParentError(
                    f"{key}: {parent.dir} has no samples with scores and KL from step 0 on; pass a run that learned "
                    "from its own samples, with train.samples=128, for instance"
                )
            found[name] = usable
    return found


def _check_proxy(key: str, policy: Parent, proxy: Parent | None) -> None:
    """A run and a proxy of one name get one colour, and must belong together."""
    if proxy is None or proxy.sha256 is None or policy.kind != "run" or policy.dir is None:
        return
    recorded = Summary.read(policy.dir).parents.get("algo.reward_model")
    if recorded is not None and recorded.get("sha256") not in (None, proxy.sha256):
        raise ParentError(
            f"{key}: {policy.dir} was trained against another reward model than evaluation.proxies."
            f"{key.removeprefix(POLICIES)}; give the two different names, or pass the one that it was trained against"
        )


def tracks_of(
    config: EvaluateConfig,
    run: Run,
    prompts: Sequence[Prompt],
    best: Sequence[Sequence[Answer]],
    policies: dict[str, list[dict[str, Any]]],
    judge: Judge,
    reads: int | None,
) -> list[Track]:
    """Best-of-n by each proxy, then each run.

    Args:
        prompts, best: samples of the reference, [prompts][n]. reads: longest prompt and answer, tokens.

    Raises:
        ParentError: a proxy gives no finite score at all, or the judge knows none of a run's prompts.
    """
    asked = [prompt for prompt, mine in zip(prompts, best, strict=True) for _ in mine]
    texts = [answer.text for mine in best for answer in mine]
    marks = _parted(_scores(judge, asked, texts), best)
    found: list[Track] = []
    for key, parent in run.parents.items():
        if key.startswith(PROXIES):
            name = key.removeprefix(PROXIES)
            proxy = load_reward_judge(key, parent, config.strategy, reads)
            given = _parted(proxy.scores(asked, texts), best)
            check_scores(key, proxy)
            rewards, scores = whole_prompts(given, marks, max(map(len, best), default=0))
            if len(rewards) < len(prompts):
                log.warning("%s: %d prompts have an answer without a score", key, len(prompts) - len(rewards))
            if rewards:
                found.append(of_best_of_n(name, rewards, scores, str(parent.dir)))  # type: ignore[arg-type]
            del proxy
            gc.collect()
    spreads = {track.name: track.spread for track in found}
    for name, samples in policies.items():
        parent = run.parents[f"{POLICIES}{name}"]
        marked = _marked(samples, judge)
        track = of_samples(name, _algorithm(parent), marked, spreads.get(name), str(parent.dir))
        if track is None:
            raise ParentError(
                f"{POLICIES}{name}: the judge ({judge.name}) has no opinion on the prompts of {parent.dir}; "
                "pass evaluation.judge=reward evaluation.reward_model=RUN"
            )
        found.append(track)
    return found


def _algorithm(parent: Parent) -> str:
    return Summary.read(parent.dir).algo if parent.dir is not None else ""


def _marked(samples: Sequence[dict[str, Any]], judge: Judge) -> list[dict[str, Any]]:
    prompts = [Prompt(tuple((str(role), str(text)) for role, text in sample["prompt"])) for sample in samples]
    scores = _scores(judge, prompts, [str(sample["response"]) for sample in samples])
    return [{**sample, "gold": score} for sample, score in zip(samples, scores, strict=True)]


def _scores(judge: Judge, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
    """The judge's, each different answer asked about once."""
    pairs = list(zip(prompts, texts, strict=True))
    different = list(dict.fromkeys(pairs))
    marks = judge([prompt for prompt, _ in different], [text for _, text in different])
    known = {pair: None if mark is None else mark.score for pair, mark in zip(different, marks, strict=True)}
    return [known[pair] for pair in pairs]


def _parted(scores: Sequence[float | None], best: Sequence[Sequence[Answer]]) -> list[list[float | None]]:
    """Back to a list for each prompt."""
    left = iter(scores)
    return [[next(left) for _ in mine] for mine in best]
