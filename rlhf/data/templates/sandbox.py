"""Renders Jinja templates of strangers: what `transformers` lets them do, within limits of work and size.

The sandbox of Jinja keeps a template away from the interpreter, but not from endless loops and gigabytes. Here every
turn of a loop or macro is counted, and so is every character that a template makes on the way or writes. The counts
decide, not a clock: a template is refused on every machine or on none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from rlhf.data.templates.code import Counting, Generation

TURNS = 30_000
"""Turns of loops and calls in one rendering, and ten more for each character that the conversation has: some tens of
milliseconds, since a template is rendered dozens of times when it is loaded. A long conversation needs some thousands.
"""
SIZE = 1_000_000
"""Characters (or items) that one value, or the whole text, may have beyond four times what the conversation has."""
MADE = 32
"""So many times that may be made on the way, in all."""
TODAY = datetime(2024, 7, 26)
"""What `strftime_now` says: a prompt must have the same tokens tomorrow. The date is the one that Llama 3's template
writes where it is given none."""

_WIDE = re.compile(r"\d{6}|\*|:[^{}]*\{")


class TemplateLimitError(jinja2.TemplateError):
    """The template would loop or grow without end."""


class _Environment(ImmutableSandboxedEnvironment):
    """As `transformers` compiles templates, with limits and without the clock."""

    code_generator_class = Counting
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        extensions = [loopcontrols, Generation]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=self.written)
        self.reset()
        for name in ("lipsum", "cycler", "joiner"):
            del self.globals[name]
        del self.filters["random"]
        self.globals |= {"raise_exception": _refuse, "strftime_now": TODAY.strftime, "namespace": _Namespace}
        guards: dict[str, Callable[..., Any]] = {
            "center": self._width,
            "indent": self._indent,
            "wordwrap": self._width,
            "batch": self._width,
            "slice": self._width,
            "replace": self._replace,
            "join": self._join,
            "format": self._format,
            "tojson": lambda value, *_, **__: self.made(_size(value)),
        }
        self.filters["tojson"] = _tojson
        for name, guard in guards.items():
            self.filters[name] = _guarded(self.filters[name], guard, self._listed if name == "join" else None)

    def reset(self, given: int = 0) -> None:
        """Start counting anew, for values of `size` characters."""
        self.turns = self.length = self.work = 0
        self.size = SIZE + 4 * given
        self.most = TURNS + 10 * given

    def turn(self, written: int) -> None:
        """A turn of a loop, whose body may write so many characters of the template's own."""
        self.length += written
        self._count()
        self._check_length()

    def _count(self) -> None:
        self.turns += 1
        if self.turns > self.most:
            raise TemplateLimitError(f"it loops or calls more than {self.most:,} times")

    def written(self, value: Any) -> Any:
        """Every value that is written passes here."""
        self.length += len(value) if isinstance(value, str) else _size(value)
        self._check_length()
        return value

    def _check_length(self) -> None:
        # Bodies count their own text once a turn, whether a branch of it was taken or not: hence the factor.
        if self.length > 8 * self.size:
            raise TemplateLimitError(f"it writes more than {self.size:,} characters")

    def made(self, size: int) -> None:
        """A value of so many characters or items is about to be made."""
        self.work += size
        if size > self.size or self.work > MADE * self.size:
            raise TemplateLimitError(f"it makes texts of more than {self.size:,} characters")

    def joined(self, parts: Iterable[Any]) -> str:
        texts = [str(part) for part in parts]
        self.made(sum(map(len, texts)))
        return "".join(texts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            if isinstance(left, str | list | tuple | bytes):
                self.made(_length(left) + _length(right))
        elif operator == "*":
            if isinstance(left, int) and isinstance(right, int):
                self.made(left.bit_length() + right.bit_length())
            else:
                self.made(max(_length(left), 1) * max(_length(right), 1))
        elif operator == "**":
            if isinstance(left, int) and isinstance(right, int):
                self.made(left.bit_length() * abs(right))
        elif isinstance(left, str | bytes):
            self._format(str(left))
            self.made(_size(right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        self._count()
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, int) and abs(argument) > self.size:
                raise TemplateLimitError(f"it asks for {function!r} with {argument:,}"[:200])
        # Jinja wraps `format` once more.
        owner = getattr(getattr(function, "__wrapped__", function), "__self__", None)
        if isinstance(owner, str | bytes):
            name = getattr(function, "__name__", "")
            if name == "join" and args:
                args = (self._listed(args[0]), *args[1:])
            self._method(name, owner, args)
        return super().call(context, function, *args, **kwargs)

    def _method(self, name: str, owner: Any, args: tuple[Any, ...]) -> None:
        numbers = [argument for argument in args if isinstance(argument, int)]
        if name == "translate":
            raise SecurityError("translate is not for templates")
        if name == "replace" and len(args) > 1:
            self._replace(owner, args[0], args[1])
        elif name == "join" and args:
            self._join(args[0], owner)
        elif name == "expandtabs":
            self.made(len(owner) * max(numbers, default=8))
        elif name in ("format", "format_map"):
            self._format(owner, *args)
        elif numbers:
            self.made(max(numbers))
        else:
            self.work += len(owner)

    def _replace(self, text: Any, old: Any, new: Any, *_: Any, **__: Any) -> None:
        text, old, new = str(text), str(old), str(new)
        self.made(len(text) + (text.count(old) if old else len(text) + 1) * len(new))

    def _join(self, values: Any, between: Any = "", *_: Any, **__: Any) -> None:
        self.made(sum(map(_size, values)) + len(values) * len(str(between)))

    def _listed(self, values: Any) -> Any:
        """A lazy sequence, which would be used up by looking at it, as a list."""
        if isinstance(values, str | list | tuple | dict):
            return values
        listed = list(islice(values, self.size + 1))
        self.made(len(listed))
        return listed

    def _format(self, text: Any, *args: Any, **kwargs: Any) -> None:
        if _WIDE.search(str(text)):
            raise TemplateLimitError("it formats with a width that is no width of a text")
        self.made(len(str(text)) + sum(map(_size, (*args, *kwargs.values()))))

    def _width(self, value: Any, *args: Any, **kwargs: Any) -> None:
        numbers = [number for number in (*args, *kwargs.values()) if isinstance(number, int)]
        texts = [text for text in (*args, *kwargs.values()) if isinstance(text, str)]
        self.made(max(numbers, default=0) + _size(value) * (1 + max(map(len, texts), default=0)))

    def _indent(self, value: Any, width: Any = 4, *_: Any, **__: Any) -> None:
        wide = width if isinstance(width, int) else len(str(width))
        self.made(len(str(value)) + (str(value).count("\n") + 1) * wide)


class _Namespace(jinja2.utils.Namespace):
    """Refuses underscored names, as transformers' does: they lead to the interpreter."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, args = args[0], args[1:]
        values = dict(*args, **kwargs)
        for name in values:
            _Namespace._check(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace._check(name)
        super().__setitem__(name, value)

    @staticmethod
    def _check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"a namespace can't hold {name!r}")


def _guarded(
    function: Callable[..., Any], guard: Callable[..., Any], prepare: Callable[[Any], Any] | None
) -> Callable[..., Any]:
    """A filter whose arguments are looked at first. Some get the environment or its context in front of them."""
    passed = getattr(function, "jinja_pass_arg", None)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        first = int(passed is not None)
        if prepare is not None and len(args) > first:
            args = (*args[:first], prepare(args[first]), *args[first + 1 :])
        guard(*args[first:], **kwargs)
        return function(*args, **kwargs)

    if passed is not None:
        guarded.jinja_pass_arg = passed  # type: ignore[attr-defined]
    return guarded


def _length(value: Any) -> int:
    if isinstance(value, bool | int):
        return max(int(value), 0)
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 1


def _size(value: Any, depth: int = 0) -> int:
    """Characters that a value has when written, roughly; never more than a little above the limit."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if not isinstance(value, list | tuple):
        return 8
    if depth > 50:
        raise TemplateLimitError("it nests values without end")
    total = 2 * len(value)
    for part in value:
        total += _size(part, depth + 1)
        if total > 100 * SIZE:
            break
    return total


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # Jinja's own escapes HTML; this one writes what `transformers` writes.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


@lru_cache(maxsize=8)
def _compiled(source: str) -> tuple[_Environment, jinja2.Template]:
    environment = _Environment()
    return environment, environment.from_string(source)


def render(source: str, values: Mapping[str, Any]) -> str:
    """What a template writes.

    Raises:
        jinja2.TemplateError: it is not valid, refuses, or reaches a limit.
        Exception: whatever its own faults raise (a division by zero, a key that is not there, endless recursion).
    """
    environment, template = _compiled(source)
    environment.reset(_size(list(values.values())))
    return template.render(values)
