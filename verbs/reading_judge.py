"""The judge behind an endpoint, as the keys of a section name it."""

from __future__ import annotations

from pathlib import Path

from rlhf.config.endpoint import ServerConfig
from rlhf.evaluation.judges.rubric import PROMPTS, ReadingJudge
from verbs.endpoint import endpoint_of


def reading_judge(section: str, server: ServerConfig) -> ReadingJudge:
    """A judge that answers and takes the key; nothing is asked of it yet.

    Args:
        section: where the server's keys stand, such as `evaluation.endpoint`.

    Raises:
        UserError: it does not, or its prompts can't be used.
    """
    endpoint = endpoint_of(section, server)
    judge = ReadingJudge(endpoint, Path(server.prompts) if server.prompts is not None else PROMPTS)
    endpoint.check()
    return judge
