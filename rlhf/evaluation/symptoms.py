"""What a run's numbers warn of: thresholds with their reasons, and the rules that they belong to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from rlhf.evaluation.diversity import commonest_share, self_bleu
from rlhf.evaluation.findings import MIN_TEXTS, Finding, Row, Sample, Series, by_step, series
from rlhf.evaluation.metrics import distinct
from rlhf.evaluation.overoptimisation.onset import onset

SCORES = ("val/score", "objective/score", "val/margin")
"""What training pushes up, held-out first: the reward of PPO, the implicit reward margin of DPO."""
KLS = ("val/kl", "objective/kl")
LENGTHS = ("val/length", "response/length")
ENTROPIES = ("val/entropy", "policy/entropy")

LENGTH_RATIO = 1.5
"""Answers so much longer than at the start. Good runs of the embedded task grow by 2 to 20%, one that hacked a reward
model with flipped labels by 77% (docs/report.md); that PPO's gain is often length alone: Singhal et al. 2023."""
KL_HIGH = 10.0
"""Nats a response. As much as the best of 60,000 samples costs at most (log n − (n − 1)/n); Ziegler et al. 2019 hold
their runs at 6 to 10."""
ENTROPY_RATIO = 0.05
"""Entropy below a twentieth of the start's: sampling has become all but greedy, and PPO has nothing left to compare.
Good runs of the embedded task, where most prompts have one right answer, end at a tenth."""
COMMON_SHARE = 0.5
"""Every second of different prompts gets the very same answer. Good runs: 0.05 to 0.25."""
SELF_BLEU_HIGH = 0.9
"""Self-BLEU of answers to different prompts. Good runs: 0.2 to 0.75; an SFT model that had only two answers: 1.0."""
DISTINCT_RATIO = 0.3
"""distinct-2 relative to the start, same prompts. Good runs of the embedded task: 0.5 to 1."""
BITS_RATIO = 0.1
"""Bits per byte so much above the start's, relative. With 4.4 bytes a token and one bit a byte (GPT-2 on web text), 10%
more bits is a perplexity 1.36 times as high."""
DEAD = 0.0
"""An explained variance at or below 0: the mean return predicts as well as the critic does."""
CHANCE = 0.5
MIN_POINTS = 4
"""Fewer rows say nothing of a trend: a fresh critic starts at or below 0."""
STANDARD_ERRORS = 2.0
"""A difference of sampled lengths must exceed so many of its standard errors."""


def symptoms(
    rows: Sequence[Row], samples: Sequence[Sample] = (), final: Mapping[str, float] | None = None, algo: str = ""
) -> list[Finding]:
    """Everything that a run's table, its samples and the end of its summary show, worst first.

    Args:
        rows: of `metrics.csv`. samples: of `samples.jsonl`, with `gold` where a judge has marked them.
        final: of `summary.json`; only `forgetting` and `forgetting_from` are read from it.
        algo: the algorithm's name, for the remedies.
    """
    found = [finding for finding in (onset(samples),) if finding is not None]
    found += _hacking(rows, samples)
    found += _collapse(rows, samples)
    found += _forgetting(rows, final or {})
    found += _dead_critic(rows)
    found += _chance(rows)
    return [replace(finding, algo=algo) for finding in found]


def _hacking(rows: Sequence[Row], samples: Sequence[Sample]) -> Iterator[Finding]:
    """The score is up, and so is the length, or the KL is out of hand."""
    score = series(rows, *SCORES)
    if len(score) < 2 or score[-1][1] <= score[0][1] or _better(samples):
        return
    scores = {"score_from": score[0][1], "score_to": score[-1][1]}
    lengths = series(rows, *LENGTHS) or _sampled_lengths(samples)
    if len(lengths) > 1 and lengths[-1][1] >= LENGTH_RATIO * lengths[0][1]:
        step = next(step for step, value in lengths if value >= LENGTH_RATIO * lengths[0][1])
        numbers = {"from": lengths[0][1], "to": lengths[-1][1], "ratio": lengths[-1][1] / lengths[0][1]}
        yield Finding("reward_hacking", "length", step, scores | numbers)
    kls = series(rows, *KLS) or _sampled_kls(samples)
    if kls and kls[-1][1] >= KL_HIGH:
        step = next(step for step, value in kls if value >= KL_HIGH)
        yield Finding("reward_hacking", "kl", step, scores | {"to": kls[-1][1], "limit": KL_HIGH})


def _better(samples: Sequence[Sample]) -> bool:
    """Whether a gold judge marks the last answers higher than the first: nothing is hacked then."""
    groups = [[float(s["gold"]) for s in group if "gold" in s] for group in by_step(samples).values()]
    known = [group for group in groups if len(group) >= MIN_TEXTS]
    return len(known) > 1 and fmean(known[-1]) > fmean(known[0])


def _sampled_kls(samples: Sequence[Sample]) -> Series:
    """Mean KL of an evaluation's answers, where each has its own (DPO's come after training)."""
    groups = {step: [float(s["kl"]) for s in group if "kl" in s] for step, group in by_step(samples).items()}
    return [(step, fmean(kls)) for step, kls in groups.items() if len(kls) >= MIN_TEXTS]


def _sampled_lengths(samples: Sequence[Sample]) -> Series:
    """Mean tokens of an evaluation's answers; without the steps that differ from the first by noise."""
    groups = {step: [float(s["tokens"]) for s in group] for step, group in by_step(samples).items()}
    groups = {step: lengths for step, lengths in groups.items() if len(lengths) >= MIN_TEXTS}
    if not groups:
        return []
    first = next(iter(groups.values()))
    found = []
    for step, lengths in groups.items():
        noise = math.sqrt(_variance(first) / len(first) + _variance(lengths) / len(lengths))
        if lengths is first or abs(fmean(lengths) - fmean(first)) > STANDARD_ERRORS * noise:
            found.append((step, fmean(lengths)))
    return found


def _variance(values: Sequence[float]) -> float:
    centre = fmean(values)
    return sum((value - centre) ** 2 for value in values) / max(1, len(values) - 1)


def _collapse(rows: Sequence[Row], samples: Sequence[Sample]) -> Iterator[Finding]:
    """The policy's own entropy, and how alike its answers to different prompts are."""
    entropy = series(rows, *ENTROPIES)
    if len(entropy) > 1 and entropy[0][1] > 0 and entropy[-1][1] < ENTROPY_RATIO * entropy[0][1]:
        step = next(step for step, value in entropy if value < ENTROPY_RATIO * entropy[0][1])
        yield Finding("mode_collapse", "entropy", step, {"from": entropy[0][1], "to": entropy[-1][1]})
    groups = by_step(samples)
    if groups:
        first, (step, last) = next(iter(groups.values())), list(groups.items())[-1]
        start = [str(sample["response"]) for sample in first]
        yield from collapse([str(sample["response"]) for sample in last], start, step)


def collapse(texts: Sequence[str], start: Sequence[str], step: int | None, subject: str = "") -> Iterator[Finding]:
    """The strongest sign that answers to different prompts have become one; at most one finding.

    Args:
        start: what the model said to the same prompts before.
    """
    if len(texts) < MIN_TEXTS:
        return
    share, alike = commonest_share(texts) or 0.0, self_bleu(texts) or 0.0
    before, now = distinct(start, 2), distinct(texts, 2)
    if share >= COMMON_SHARE:
        yield Finding("mode_collapse", "same_answer", step, {"share": share, "n": len(texts)}, subject)
    elif alike >= SELF_BLEU_HIGH:
        yield Finding("mode_collapse", "self_bleu", step, {"to": alike, "limit": SELF_BLEU_HIGH}, subject)
    elif before and now is not None and now < DISTINCT_RATIO * before:
        yield Finding("mode_collapse", "distinct", step, {"from": before, "to": now}, subject)


def _forgetting(rows: Sequence[Row], final: Mapping[str, float]) -> Iterator[Finding]:
    if {"forgetting", "forgetting_from"} <= set(final):
        before, lost = final["forgetting_from"], final["forgetting"]
        step = int(rows[-1]["step"]) if rows else None
        yield from forgotten(before, before + lost, step)


def forgotten(before: float, now: float, step: int | None, subject: str = "") -> Iterator[Finding]:
    """Bits per byte of held-out text, of the model before and of this one."""
    if now > (1 + BITS_RATIO) * before:
        yield Finding("forgetting", "bits", step, {"from": before, "to": now, "ratio": now / before - 1}, subject)


def _dead_critic(rows: Sequence[Row]) -> Iterator[Finding]:
    explained = series(rows, "value/explained_variance")
    late = explained[len(explained) // 2 :]
    if len(explained) >= MIN_POINTS and (mean := fmean(value for _, value in late)) <= DEAD:
        yield Finding("dead_critic", "critic", late[-1][0], {"to": mean, "since": late[0][0]})


def _chance(rows: Sequence[Row]) -> Iterator[Finding]:
    low = series(rows, "val/accuracy_low")
    # The first is from before the first update, where chance is what there should be.
    if len(low) < 2:
        return
    step = low[-1][0]
    row = next(row for row in reversed(rows) if row.get("step") == step and "val/accuracy_low" in row)
    # Of a coin between two responses; of labels of steps, of whoever always says the commoner one.
    chance = row.get("val/commoner_share")
    if low[-1][1] <= (CHANCE if chance is None else chance):
        numbers = {name: row[f"val/accuracy{name and '_'}{name}"] for name in ("low", "high")}
        numbers |= {"accuracy": row["val/accuracy"], "n": row.get("val/prompts", math.nan)}
        if chance is None:
            yield Finding("chance_reward_model", "chance", step, numbers)
        else:
            yield Finding("chance_reward_model", "chance_steps", step, numbers | {"chance": chance})
