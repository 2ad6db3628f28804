"""Functions that score answers: found by name, checked before training, and asked with what they name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf.data.records import Prompt
from rlhf.errors import ConfigError, UserError, first_line, nearest
from rlhf.rewards import functions as shipped

BESIDE = ("prompts", "completions")
"""What every function may name beside the record's fields."""


class ScoreFunction:
    """A function that scores completions, with the keyword arguments that it is given each time.

    Args:
        source: a function of `rlhf.rewards.functions`, `module:function` or `file.py:function`.
        arguments: constants.
        fields: names of the record's fields that will be there.

    Attributes:
        name: the function's own.

    Raises:
        ConfigError: it is not there, or can't be called with these.
    """

    def __init__(self, source: str, arguments: Mapping[str, Any], fields: Sequence[str]) -> None:
        self.source, self.arguments = source, dict(arguments)
        self.name = source.rsplit(":", 1)[-1]
        self._function = _shipped(source) if ":" not in source else _found(source)
        self._takes = self._checked(fields)
        if ":" not in source:
            # Ours take empty lists, so that a pattern that is none stops the run before it begins.
            self._call({name: [] for name in (*BESIDE, *fields)})

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
        """A finite number for each completion to the prompt at the same place.

        Raises:
            ConfigError: the function fails, or returns something else; the message begins with `reward.sources`.
        """
        columns: dict[str, list[Any]] = {
            "prompts": [conversation(prompt) for prompt in prompts],
            "completions": list(completions),
        }
        for name in self._takes - {*BESIDE, *self.arguments}:
            columns[name] = [_field(self.source, prompt, name) for prompt in prompts]
        scores = self._call(columns)
        try:
            found = [float(score) for score in scores]
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"reward.sources: {self.source} must return a list of numbers ({first_line(error)})"
            ) from error
        if len(found) != len(completions):
            raise ConfigError(
                f"reward.sources: {self.source} returned {len(found)} numbers for {len(completions)} completions"
            )
        for place, score in enumerate(found):
            if not math.isfinite(score):
                raise ConfigError(
                    f"reward.sources: {self.source} returned {score} for the completion {completions[place][:80]!r}; "
                    "each must be a finite number"
                )
        return found

    def _call(self, columns: Mapping[str, list[Any]]) -> Any:
        given = {name: column for name, column in columns.items() if name in self._takes}
        try:
            return self._function(**given, **self.arguments)
        except UserError:
            raise
        except Exception as error:
            place = f" in line {line}" if (line := _line_of(error, self._function)) else ""
            raise ConfigError(
                f"reward.sources: {self.source} failed{place} with {type(error).__name__}: {first_line(error)}"
            ) from error

    def _checked(self, fields: Sequence[str]) -> set[str]:
        """Names of what the function is given each time, constants left out."""
        try:
            parameters = inspect.signature(self._function).parameters.values()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"reward.sources: {self.source} can't be called ({error})") from error
        offered = [*BESIDE, *fields]
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            takes = set(offered)
        else:
            takes = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
            for name in self.arguments:
                if name not in takes:
                    raise ConfigError(
                        f"reward.arguments.{self.name}: {self.source} takes no {name}{nearest(name, takes)}"
                    )
        for p in parameters:
            needed = p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
            if p.kind is p.POSITIONAL_ONLY:
                raise ConfigError(f"reward.sources: {self.source} takes {p.name} by its place; it is called by names")
            if needed and p.name not in offered and p.name not in self.arguments:
                raise ConfigError(
                    f"reward.sources: {self.source} needs {p.name}, which is neither a field of data.fields "
                    f"({', '.join(fields) or 'none'}) nor given by reward.arguments"
                )
        return (takes & set(offered)) - set(self.arguments)


def conversation(prompt: Prompt) -> str:
    """A single question as it is, several turns with their roles."""
    if len(prompt.turns) == 1:
        return prompt.text
    return "\n\n".join(f"{role}: {text}" for role, text in prompt.turns)


def _field(source: str, prompt: Prompt, name: str) -> Any:
    if name not in prompt.fields:
        where = f"{prompt.place}: " if prompt.place else ""
        raise ConfigError(f"reward.sources: {where}{source} reads {name}, and the record of a prompt has none")
    return prompt.fields[name]


def _shipped(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] | None = getattr(shipped, name, None)
    if found is None:
        raise ConfigError(f"reward.sources: {name} is none of the lab's functions, nor module:function")
    return found


def _found(source: str) -> Callable[..., Any]:
    """A function of the user's, from a module or from a file."""
    path, _, name = source.rpartition(":")
    try:
        module = _from_file(Path(path)) if path.endswith(".py") else _from_module(path)
    except Exception as error:  # the user's module may raise anything
        raise ConfigError(
            f"reward.sources: {path} can't be imported ({type(error).__name__}: {first_line(error)}); "
            "pass a module that Python finds from here, or file.py:function"
        ) from error
    found: Any = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"reward.sources: {path} has no function {name}{nearest(name, known)}")
    function: Callable[..., Any] = found
    return function


def _from_module(path: str) -> Any:
    """A module, also one in the folder where the command was typed."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    return importlib.import_module(path)


def _from_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"reward_functions_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _line_of(error: BaseException, function: Callable[..., Any]) -> int | None:
    """The last line of the function's own file in an exception's traceback."""
    code = getattr(function, "__code__", None)
    found, trace = None, error.__traceback__
    while trace is not None:
        if code is not None and trace.tb_frame.f_code.co_filename == code.co_filename:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found
