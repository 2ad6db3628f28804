"""Errors that a user can cause and can fix: one sentence, no traceback, exit code 2."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something the user typed, wrote or pointed at can't be used; the message says what, and what would work."""


class ConfigError(UserError):
    """A configuration key or value is impossible. The message starts with the dotted key."""


class DataError(UserError):
    """A data file can't be read or understood. The message starts with `file:line` where there is a line."""


class ParentError(UserError):
    """A run or model that this run builds on is missing, unfinished, or of another kind."""


class TrainingError(UserError):
    """Training can't continue (no disk space, a loss that is not finite); what was saved is named in the message."""


class EndpointError(UserError):
    """A server that an evaluation asks can't be reached, or refuses."""


class WaitsForPeople(UserError):
    """What people do has to come first; the message says what, and the same command continues afterwards."""


class LostProcess(Exception):
    """A process of this run died, so the others can't continue: one sentence, exit code 1."""


class Interrupted(BaseException):
    """A signal asked the program to stop; no `Exception`, so that nothing on the way takes it for one it could handle.

    Attributes:
        code: what the program exits with.
    """

    def __init__(self, message: str, code: int = 130) -> None:
        super().__init__(message)
        self.code = code


REQUEUE = 75
"""Exit code after SIGTERM and SIGUSR1, `EX_TEMPFAIL` of sysexits.h: not done, the same command can continue later."""


def first_line(error: object) -> str:
    """The first line of an exception's text; its type if the text is empty."""
    return str(error).strip().split("\n")[0].strip() or type(error).__name__


def nearest(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean X?`, or an empty string where nothing is near."""
    found = get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""
