"""Who judges an evaluation, and the marks and comparisons that it gives."""

from __future__ import annotations

from collections.abc import Callable

from rlhf.config import EvaluateConfig
from rlhf.evaluation.judges.rubric import ReadingJudge, position_bias
from rlhf.evaluation.judges.scorers import GoldJudge, Judge, Mark
from rlhf.evaluation.outcome import Evaluation
from rlhf.evaluation.winrates import ordered_pairs, outcome
from rlhf.progress import ProgressBar
from rlhf.runs import Run
from verbs.endpoints.reading_judge import estimate_cost, warn_of_failures


def judge_of(config: EvaluateConfig, run: Run) -> str:
    """gold, reward, ensemble, endpoint or none."""
    settings = config.evaluation
    if settings.judge != "auto":
        return settings.judge
    if config.data.source == "assistant":
        return "gold"
    if settings.endpoint.url is not None and settings.endpoint.model is not None:
        return "endpoint"
    if settings.ensemble:
        return "ensemble"
    return "reward" if "evaluation.reward_model" in run.parents else "none"


def apply_judge(judge: Judge, evaluation: Evaluation) -> None:
    """Marks for every answer."""
    for prompts, replies in evaluation.all_replies():
        replies.marks = judge(prompts, [answer.text for answer in replies.answers])
    evaluation.judge_details |= {"unit": judge.unit}


def pairs_to_read(config: EvaluateConfig, evaluation: Evaluation) -> list[tuple[str, str]]:
    """(mine, theirs) by name: what is compared side by side."""
    names, reference = list(evaluation.models), evaluation.reference
    pairs = ordered_pairs(names)
    if config.evaluation.endpoint.against == "reference":
        pairs = [pair for pair in pairs if reference in pair]
    return pairs + ([(evaluation.best_name, reference)] if evaluation.best is not None else [])


def apply_reading(config: EvaluateConfig, judge: ReadingJudge, evaluation: Evaluation) -> None:
    """Says what it will cost, then has answers marked and compared.

    Raises:
        ConfigError: the cost could be higher than allowed.
        EndpointError: the server is gone; answers so far are in the cache.
    """
    settings = config.evaluation.endpoint
    texts = {name: [answer.text for answer in replies.answers] for name, replies in evaluation.contestants.items()}
    scored = evaluation.all_replies() if settings.mode != "pairs" else []
    pairs = pairs_to_read(config, evaluation) if settings.mode != "scores" else []
    asked = [
        judge.scoring(prompt, answer.text)
        for prompts, replies in scored
        for prompt, answer in zip(prompts, replies.answers, strict=True)
    ]
    for mine, theirs in pairs:
        for triple in zip(evaluation.prompts, texts[mine], texts[theirs], strict=True):
            asked += judge.both_orders(*triple)
    estimate = estimate_cost("evaluation.endpoint", settings, judge, asked, "evaluation.prompts")
    with _Calls("judge", estimate.calls) as calls:
        for prompts, replies in scored:
            replies.marks = judge(prompts, [answer.text for answer in replies.answers], calls.next())
        for mine, theirs in pairs:
            name = f"{mine}>{theirs}"
            evaluation.comparisons[name] = judge.compare(evaluation.prompts, texts[mine], texts[theirs], calls.next())
    warn_of_failures(judge)
    used = judge.endpoint.used
    read = [compared for mine in evaluation.comparisons.values() for compared in mine]
    evaluation.judge_details |= {
        "unit": judge.unit,
        "model": settings.model,
        "url": settings.url,
        "mode": settings.mode,
        "temperature": settings.temperature,
        "prompts": judge.fingerprint,
        "calls": used.record(),
        "cost": judge.endpoint.prices.cost(used.tokens_in, used.tokens_out),
        "unreadable": judge.unreadable,
        "position_bias": position_bias(read) if read else None,
    }


def beside_gold(evaluation: Evaluation) -> None:
    """Add, on the embedded task, how often another judge sees the winner that the gold judge sees."""
    gold = GoldJudge()
    marks = {
        name: gold(evaluation.prompts, [answer.text for answer in replies.answers])
        for name, replies in evaluation.contestants.items()
    }
    agreed: list[float] = []
    for mine, theirs in ordered_pairs(list(evaluation.contestants)):
        said = _outcomes(evaluation, mine, theirs)
        for theirs_says, a, b in zip(said, marks[mine], marks[theirs], strict=True):
            if theirs_says is None or a is None or b is None or a.score == b.score:
                continue
            agreed.append(1 - abs(theirs_says - outcome(a.score, b.score)))
    if agreed:
        evaluation.judge_details["gold"] = {"agree": sum(agreed) / len(agreed), "n": len(agreed)}


def _outcomes(evaluation: Evaluation, mine: str, theirs: str) -> list[float | None]:
    """Outcome of each prompt, as the win rate counts it; `None` where there is none."""
    nothing: list[float | None] = [None] * len(evaluation.prompts)
    if evaluation.comparisons:
        compared = evaluation.comparisons.get(f"{mine}>{theirs}")
        return nothing if compared is None else [None if c is None else c.outcome for c in compared]
    marks: list[list[Mark | None]] = [evaluation.contestants[name].marks for name in (mine, theirs)]
    if not all(marks):
        return nothing
    return [None if a is None or b is None else outcome(a.score, b.score) for a, b in zip(*marks, strict=True)]


class _Calls(ProgressBar):
    """A bar over the requests to a judge, which come in several lists."""

    def next(self) -> Callable[[int, int], None]:
        """The progress display for the next list, which counts from one again."""
        before = self.done

        def advance(done: int, total: int) -> None:
            self.done = before + done

        return advance
