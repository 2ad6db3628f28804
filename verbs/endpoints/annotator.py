"""Rankings by a language model behind an endpoint: by which rules, at what cost, and how sure it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from rlhf.config.verbs.schemas import CollectSettings
from rlhf.data.records import Prompt
from rlhf.errors import ConfigError
from rlhf.evaluation.judges.annotators import ReadingAnnotator, ScoreAnnotator
from rlhf.evaluation.judges.rubric import position_bias
from rlhf.progress import ProgressBar
from rlhf.storage.disk import reason_of
from verbs.endpoints.reading_judge import estimate_cost, reading_judge, warn_of_failures

SECTION = "collect.endpoint"

log = logging.getLogger("rlhf")


class EndpointAnnotator:
    """An annotator that answers and takes the key; nothing is asked of it yet.

    Raises:
        UserError: it does not, or its rules can't be read.
    """

    def __init__(self, settings: CollectSettings) -> None:
        self.settings, self.server = settings, settings.endpoint
        rubric = rubric_in(settings.rubric) if settings.rubric is not None else None
        self.judge = reading_judge(SECTION, self.server, rubric)
        self.reader = ReadingAnnotator(self.judge)

    def rank(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[tuple[int, ...] | None]:
        """Say what it will cost, then have each prompt's answers ranked; what is in the cache is not asked again.

        Raises:
            ConfigError: the cost could be higher than allowed.
            EndpointError: the server is gone; answers so far are in the cache.
        """
        by_pairs = self.server.mode == "pairs"
        flat = [(prompt, text) for prompt, texts in zip(prompts, answers, strict=True) for text in texts]
        asked = self.reader.asked(prompts, answers) if by_pairs else [self.judge.scoring(*one) for one in flat]
        estimate = estimate_cost(SECTION, self.server, self.judge, asked, "collect.prompts, collect.samples")
        with ProgressBar("calls of the annotator", estimate.calls) as progress:

            def scores(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
                return [None if mark is None else mark.score for mark in self.judge(prompts, texts, progress)]

            if by_pairs:
                ranked = self.reader.rank(prompts, answers, progress)
            else:
                ranked = ScoreAnnotator(scores).rank(prompts, answers)
        warn_of_failures(self.judge)
        return ranked

    @property
    def made_by(self) -> dict[str, str]:
        """Fields of every record: whose rankings these are, and by which instructions."""
        return {"annotator": str(self.server.model), "annotator_prompt": self.judge.sha256}

    def facts(self) -> dict[str, float]:
        """Numbers of `summary.json`. Shares are of the pairs of different answers that were read in both orders."""
        endpoint, used = self.judge.endpoint, self.judge.endpoint.used
        found: dict[str, float] = {
            "annotator_calls": used.calls,
            "annotator_cached": used.cached,
            "annotator_failed": used.failed + used.refused,
            "annotator_unreadable": self.judge.unreadable,
        }
        if (cost := endpoint.prices.cost(used.tokens_in, used.tokens_out)) is not None:
            found["annotator_cost"] = cost
        if self.server.mode == "pairs":
            found["unread_pairs"] = sum(compared is None for compared in self.reader.compared)
        if (bias := position_bias(self.reader.compared)) is not None:
            found |= {"inconsistent": 1 - bias["consistent"]}
            log.info(
                "%.1f%% of %d pairs got another verdict in the other order, and are ties",
                100 * found["inconsistent"],
                bias["n"],
            )
        return found


def rubric_in(path: str) -> str:
    """The rules in a file.

    Raises:
        ConfigError: it can't be read, or says nothing.
    """
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = reason_of(error) if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigError(f"collect.rubric: {path} can't be read: {said}") from error
    if not text:
        raise ConfigError(f"collect.rubric: {path} is empty")
    return text
