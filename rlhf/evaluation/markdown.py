"""`report.md`: a comparison for people to read, numbers first, then the answers themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rlhf.data.records import Prompt
from rlhf.evaluation.outcome import Evaluation, Replies, number
from rlhf.evaluation.overoptimisation.fits_table import fits_table
from rlhf.evaluation.reward_model.markdown import bench_sections, reward_sections
from rlhf.evaluation.reward_model.preferences import best_of_bound
from rlhf.evaluation.rounds import rounds_table
from rlhf.plain_text import printable


def report(evaluation: Evaluation, shown: int) -> str:
    """The whole page.

    Args:
        shown: held-out prompts whose answers are printed.
    """
    return "\n\n".join(_parts(evaluation, shown)) + "\n"


def _parts(evaluation: Evaluation, shown: int) -> Iterator[str]:
    yield "# " + (" · ".join(evaluation.models) or "Reward model")
    yield "\n".join(f"- {label}: {sentence}" for label, sentence in evaluation.facts.items())
    if evaluation.models:
        yield "## Models"
        yield table(*evaluation.headline())
        yield _legend(evaluation)
    if rates := evaluation.win_rates():
        yield "## Win rates"
        yield table(*evaluation.win_table())
        yield (
            "Prompt by prompt, a tie counting one half. Intervals are a percentile bootstrap over prompts; where all "
            "outcomes are alike, Wilson's. The sign test leaves ties out: p is how often a fair coin is as far "
            "from one half as wins and losses are."
        )
        if split := {pair: rate.agreement for pair, rate in rates.items() if rate.agreement is not None}:
            said = ", ".join(f"{pair} {share:.1%}" for pair, share in split.items())
            yield f"All members of the ensemble see the same outcome of a prompt in: {said}."
    yield from _judge(evaluation)
    if (sentence := evaluation.reward_sentence()) is not None and evaluation.reward_model is not None:
        yield "## Reward model"
        yield f"It agrees with labels in {sentence}. Pairs are averaged within a prompt first; a tie counts one half."
        yield from reward_sections(evaluation.reward_model, table)
    if evaluation.reward_bench is not None:
        yield "## The reward model on a benchmark"
        yield from bench_sections(evaluation.reward_bench, table)
    if evaluation.rounds:
        yield "## Rounds"
        yield table(*rounds_table(evaluation.rounds))
        yield (
            "proxy's gain: what the round's reward model says of the model's answers, above what it says of the "
            "reference's, in standard deviations of the latter. Agreement: of the reward model of the round before "
            "with the labels of this round's fresh answers, before it is trained again, and the best that is possible "
            "on labels as noisy; held-out: of the round's own reward model, on comparisons of all rounds so far."
        )
    if evaluation.tracks:
        yield "## Gold and proxy score against √KL"
        yield table(*fits_table(evaluation.tracks))
        yield (
            "d = √KL. Gold score above the start: d·(α − β·log d) for training runs, d·(α − β·d) for best-of-n, least "
            "squares over the measured places (Gao et al. 2022); ±: standard error, bootstrap over prompts. The proxy "
            "is in standard deviations of its scores at the start. The picture is overoptimisation.svg."
        )
    if evaluation.harness:
        yield "## lm-evaluation-harness"
        yield table(*harness_table(evaluation))
    if evaluation.best is not None:
        n = evaluation.best_n
        yield f"## Best of {n}"
        yield (
            f"Of {n} samples of {evaluation.reference} the one that the reward model scores highest: what the reward "
            f"model can do without training a policy. Its KL to {evaluation.reference} is at most "
            f"log n − (n − 1)/n = {best_of_bound(n):.2f} nats, a bound, not a measurement."
        )
    if shown and evaluation.prompts:
        yield "## Answers"
        replies = evaluation.contestants
        yield from _answers(evaluation.prompts[:shown], replies)
    if evaluation.guide:
        yield "## The guide's prompts"
        yield from _answers(evaluation.guide, {name: model.guide for name, model in evaluation.models.items()})


def _judge(evaluation: Evaluation) -> Iterator[str]:
    """What a judge that reads cost, and whether it can be trusted."""
    details = evaluation.judge_details
    sentences = []
    if (bias := details.get("position_bias")) is not None:
        sentences.append(
            f"Each pair was read in both orders, {bias['n']} pairs of different answers: the same one wins, or both "
            f"tie, in {bias['consistent']:.1%}; the first place wins both times in {bias['first']:.1%}, the second in "
            f"{bias['second']:.1%} (sign test p = {bias['p']:.2g}). Only an answer that wins in both orders wins."
        )
    if (calls := details.get("calls")) is not None:
        sentences.append(
            f"{calls['calls']:,} calls and {calls['cached']:,} cached answers; {calls['failed'] + calls['refused']} "
            f"failed or were refused, {details['unreadable']} could not be read, and are left out."
        )
    if (gold := details.get("gold")) is not None:
        sentences.append(
            f"Where the embedded task's own judge sees a winner, this one sees the same in {gold['agree']:.1%} "
            f"({gold['n']} pairs; a tie counts one half)."
        )
    if sentences:
        yield "## The judge"
        yield "\n\n".join(sentences)


def harness_table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a task's metric each, a model a column."""
    models = list(evaluation.harness)
    names = dict.fromkeys(
        (task, metric)
        for tasks in evaluation.harness.values()
        for task, values in tasks.items()
        for metric in values
        if not metric.endswith("_stderr")
    )
    rows = []
    for task, metric in names:
        cells = []
        for model in models:
            values = evaluation.harness[model].get(task, {})
            error = values.get(f"{metric}_stderr")
            cells.append(number(values.get(metric), "{:.4f}") + (f" ± {1.96 * error:.4f}" if error is not None else ""))
        rows.append([f"{task} {metric}", *cells])
    return ["task (95%)", *models], rows


def _legend(evaluation: Evaluation) -> str:
    judged = {
        "gold": "score: the worst of the three sides, mean over all prompts; helpfulness is over what can be answered, "
        "harmlessness over what should be refused, honesty over what can't be known (0 to 10 each); "
        "false refusals: share of what can be answered; ",
        "reward": "score: the reward model's, mean over all prompts; ",
        "ensemble": "score: the reward models' together, mean over all prompts; ",
        "endpoint": "score: the worst of the three sides that the judge marked (0 to 10 each), mean over all prompts; ",
        "none": "",
    }[evaluation.judge]
    return (
        f"{judged}kl: nats per response to {evaluation.reference} (k1, on the model's own samples); "
        "length: tokens, end-of-text included; distinct 2: different word pairs over all; "
        "bits per byte, perplexity (a token): on held-out text, lower is better."
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, first column to the left, numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _answers(prompts: Sequence[Prompt], replies: Mapping[str, Replies]) -> Iterator[str]:
    for i, prompt in enumerate(prompts):
        yield f"### {i + 1}"
        for role, text in prompt.turns:
            yield quoted(text if len(prompt.turns) == 1 else f"{role}: {text}")
        for name, mine in replies.items():
            yield f"**{name}**{_said(mine, i)}\n\n{quoted(mine.answers[i].text)}"


def _said(replies: Replies, i: int) -> str:
    """What is said of an answer: its score, its reward, and whether it was cut off."""
    mark = replies.marks[i] if replies.marks else None
    reward = replies.rewards[i] if replies.rewards else None
    parts = [] if mark is None else [f"{mark.score:.4g}"]
    if reward is not None and (mark is None or mark.score != reward):
        parts.append(f"reward {reward:.2f}")
    if not replies.answers[i].finished:
        parts.append("cut off")
    return "".join(f" · {part}" for part in parts)


def quoted(text: str) -> str:
    """Anybody's text as a Markdown quotation, in which nothing is markup."""
    safe = re.sub(r"([\\`*_#<>|\[\]~])", r"\\\1", printable(text))
    return "\n".join(f"> {line}".rstrip() for line in (safe or "(nothing)").split("\n"))
