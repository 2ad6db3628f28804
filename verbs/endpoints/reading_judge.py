"""The judge behind an endpoint, as the keys of a section name it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from rlhf.config.endpoint import ServerConfig
from rlhf.evaluation.judges.calls import Estimate, Messages
from rlhf.evaluation.judges.rubric import PROMPTS, ReadingJudge
from verbs.endpoints.endpoint import check_cost, endpoint_of

log = logging.getLogger("rlhf")


def reading_judge(section: str, server: ServerConfig, rubric: str | None = None) -> ReadingJudge:
    """A judge that answers and takes the key; nothing is asked of it yet.

    Args:
        section: where the server's keys stand, such as `evaluation.endpoint`.
        rubric: by which it compares, see `ReadingJudge`.

    Raises:
        UserError: it does not, or its prompts can't be used.
    """
    endpoint = endpoint_of(section, server)
    judge = ReadingJudge(endpoint, Path(server.prompts) if server.prompts is not None else PROMPTS, rubric)
    endpoint.check()
    return judge


def estimate_cost(
    section: str, server: ServerConfig, judge: ReadingJudge, asked: Iterable[Messages], lower: str
) -> Estimate:
    """What these requests will cost, which is also logged.

    Args:
        lower: keys that would make it less.

    Raises:
        ConfigError: it could be more than is allowed.
    """
    estimate = judge.endpoint.estimate(asked)
    log.info("judge %s at %s: %s", server.model, server.url, estimate)
    check_cost(section, server, estimate, lower)
    return estimate


def warn_of_failures(judge: ReadingJudge) -> None:
    """Say how many calls brought nothing."""
    used = judge.endpoint.used
    if used.failed or used.refused:
        log.warning("%d calls failed and %d were refused; they are left out", used.failed, used.refused)
