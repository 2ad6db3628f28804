"""What scores texts in a training run: functions, and a judge behind an endpoint."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rlhf.config import ScoringConfig, source_name
from rlhf.config.scoring import JUDGE, MODEL
from rlhf.data.records import Prompt
from rlhf.errors import TrainingError
from rlhf.evaluation.judges.rubric import ReadingJudge
from rlhf.rewards.calls import ScoreFunction
from rlhf.rewards.sources import TextScore
from verbs.endpoints.reading_judge import reading_judge

log = logging.getLogger("rlhf")


def text_sources(scoring: ScoringConfig, fields: Sequence[str]) -> dict[str, TextScore]:
    """The sources that read texts, by name, in their order.

    Args:
        fields: names of the record's fields that functions may ask for.

    Raises:
        ConfigError: a function is not there, or can't be called with these.
        UserError: the judge can't be reached, or does not take the key.
    """
    found: dict[str, TextScore] = {}
    for source in scoring.sources:
        if source == JUDGE:
            judge = reading_judge("reward.endpoint", scoring.endpoint)
            found[JUDGE] = JudgeSource(judge, scoring.endpoint.max_cost)
        elif source != MODEL:
            name = source_name(source)
            found[name] = ScoreFunction(source, scoring.arguments.get(name, {}), fields)
    return found


class JudgeSource:
    """Marks of a judge that reads, 0 to 10; equal answers are asked once, and known ones are read from the cache.

    Args:
        max_cost: what all calls of this process may cost by the prices given; `None`: no limit.
    """

    def __init__(self, judge: ReadingJudge, max_cost: float | None = None) -> None:
        self.judge, self.max_cost = judge, max_cost

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
        """A mark for each completion; `None` where the judge failed, or could not be read.

        Raises:
            EndpointError: the server is gone; answers so far are in the cache.
            TrainingError: the calls could cost more than allowed.
        """
        endpoint = self.judge.endpoint
        if self.max_cost is not None:
            asked = [self.judge.scoring(*pair) for pair in zip(prompts, completions, strict=True)]
            used = endpoint.prices.cost(endpoint.used.tokens_in, endpoint.used.tokens_out) or 0.0
            could = used + (endpoint.estimate(asked).cost or 0.0)
            if could > self.max_cost:
                raise TrainingError(
                    f"reward.endpoint.max_cost: {self.max_cost:g}, but with this iteration the cost could reach "
                    f"{could:.4g}; raise it and continue with resume=true"
                )
        return [None if mark is None else mark.score for mark in self.judge(prompts, completions)]
