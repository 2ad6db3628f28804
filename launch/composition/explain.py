"""What Hydra and OmegaConf say about a bad command line, in one sentence with the nearest spelling."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from rlhf.config import VERBS, Key, TrainConfig, algorithms, keys
from rlhf.config.reference import type_name
from rlhf.errors import ConfigError, TrainingError, UserError, nearest
from rlhf.plain_text import one_line
from rlhf.storage.disk import REASONS, reason_of

REQUIRED = ("algo", "model", "data", "strategy", "rollout", "logger", "callbacks")


def explain(error: BaseException, overrides: Sequence[str], options: dict[str, list[str]], verb: str = "train") -> str:
    """One sentence that names the override, what is wrong with it, and what would do.

    Args:
        error: what composition raised.
        overrides: the command line.
        options: every group with its options.
        verb: whose keys they are.
    """
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, OverrideParseException):
            return _unreadable(cause)
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file is not None:
            return _no_such_option(cause.missing_cfg_file, options, cause.options)
    parsed = _parse(overrides)
    for cause in chain:
        if isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
            return _unknown_key(str(cause.full_key), cause, options, _tables(verb))
        if isinstance(cause, ValidationError) and cause.full_key:
            return _wrong_type(str(cause.full_key), parsed, cause, _tables(verb))
    return _by_override(parsed, options) or _first_line(chain)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@cache
def parser() -> OverridesParser:
    """Hydra's parser of overrides. It keeps nothing of what it read, and making one costs more than reading one."""
    return OverridesParser.create()


def _parse(overrides: Sequence[str]) -> list[Override]:
    try:
        return list(parser().parse_overrides(list(overrides)))
    except OverrideParseException:
        return []


def _unreadable(error: OverrideParseException) -> str:
    if "=" not in error.override:
        return f"{error.override}: not an override; write key=value, such as train.max_steps=100"
    name, value = error.override.split("=", 1)
    return (
        f"{error.override}: can't be read; put a value that holds spaces, commas, brackets or '=' "
        f"into quotes of its own: '{name}=\"{value}\"'"
    )


EXPECTED = {
    "strategy=deepspeed": "not supported, since DeepSpeed's engine steps and saves on its own, so that runs could "
    "neither continue in another layout nor give the same numbers; zero2 and zero3 shard the same with PyTorch's FSDP2"
}
"""Options that other trainers have, and what to take instead."""


def _no_such_option(missing: str, options: dict[str, list[str]], found: Sequence[str] | None) -> str:
    group, _, option = missing.rpartition("/")
    if group not in options:
        return f"{missing}: no such configuration below conf{nearest(missing, options)}"
    # Hydra's own list has the options of the user's folders too.
    names = list(found or options[group])
    if instead := EXPECTED.get(f"{group}={option}"):
        return f"{group}={option}: {instead}"
    return f"{group}={option}: no such option; {group} is one of {', '.join(names)}{nearest(option, names)}"


def _tables(verb: str) -> dict[str, dict[str, Key]]:
    """Keys of the verb; those of training by algorithm."""
    schema = VERBS[verb]
    if not issubclass(schema, TrainConfig):
        return {verb: {key.name: key for key in keys(schema)}}
    common = {key.name: key for key in keys(schema) if not key.name.startswith("algo.")}
    return {name: common | {key.name: key for key in keys(cls, "algo.")} for name, cls in algorithms().items()}


def _unknown_key(
    name: str, error: OmegaConfBaseException, options: dict[str, list[str]], tables: dict[str, dict[str, Key]]
) -> str:
    if name.startswith("model.architecture."):
        return f"{name}: not among the sizes of this model; add it with +{name}=…, if transformers knows it"
    if name.startswith("models."):
        return f"{name}: no such name; add it with +{name}=RUN"
    if name.split(".")[0] == "hydra":
        return f"{name}: Hydra has no such key"
    ours = next((algo for algo, cls in algorithms().items() if cls is error.object_type), None)
    owners = [algo for algo, table in tables.items() if name in table]
    if ours is not None and owners:
        return f"{name}: unknown key with algo={ours}; it belongs to algo={', '.join(owners)}"
    everywhere = set().union(*tables.values())
    # A key without its section is the commonest slip: batch_size for train.batch_size.
    elsewhere = sorted(key for key in everywhere if key.endswith(f".{name}"))
    if len(elsewhere) == 1:
        return f"{name}: unknown key; did you mean {elsewhere[0]}?"
    suggestion = nearest(name, [*everywhere, *options])
    return f"{name}: unknown key{suggestion or '; --help lists all keys'}"


def _wrong_type(name: str, parsed: list[Override], error: ValidationError, tables: dict[str, dict[str, Key]]) -> str:
    override = next((item for item in parsed if item.key_or_group == name), None)
    shown = f"{name}={override.get_value_element_as_str()}" if override is not None else name
    key = next((table[name] for table in tables.values() if name in table), None)
    if key is None:
        return f"{shown}: {_short(error)}"
    kind = type_name(key.annotation)
    article = "" if kind.startswith(("true", "text")) else "a "
    return f"{shown}: not {article}{kind}"


def _by_override(parsed: list[Override], options: dict[str, list[str]]) -> str | None:
    """What can be told from the overrides alone, where the error carries only prose."""
    for item in parsed:
        if item.is_sweep_override():
            return (
                f"{item.input_line}: several values make a sweep, which needs -m; quote the value to pass it as it is"
            )
    for item in parsed:
        group = item.key_or_group
        if not group:
            return f"{item.input_line}: has no key; write key=value, such as train.max_steps=100"
        if item.is_delete() and group in REQUIRED:
            return f"{item.input_line}: the group {group} can't be left out"
        if item.is_delete() and "." in group:
            return f"{item.input_line}: a key can't be left out; leave ~{group} away to have its default"
        if group in options and not isinstance(item.value(), str):
            return f"{item.input_line}: no such option; {group} is one of {', '.join(options[group])}"
    return None


def _first_line(chain: list[BaseException]) -> str:
    texts = [_short(cause) for cause in chain]
    return ": ".join(dict.fromkeys(text for text in texts[:2] if text)) or type(chain[0]).__name__


def _short(error: Any) -> str:
    return str(error).strip().split("\n")[0].rstrip(".:\r")


def interpolation(error: BaseException) -> str:
    """What is wrong with a value that refers to another key, or to the environment.

    Args:
        error: what OmegaConf raised when it was read.
    """
    for cause in _causes(error):
        if isinstance(cause, UserError):
            return str(cause)
    key = str(getattr(error, "full_key", None) or "").removeprefix("algo.algo.") or "configuration"
    text = one_line(_short(error))
    if found := re.search(r"Environment variable '([^']+)' not found", text):
        return f"{key}: the environment variable {found[1]} is not set; set it, or write ${{oc.env:{found[1]},DEFAULT}}"
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        known = {name for table in _tables("train").values() for name in table}
        return f"{key}: ${{{found[1]}}} refers to a key that is not there{nearest(found[1], known)}"
    if found := re.search(r"Unsupported interpolation type (\S+)", text):
        return f"{key}: there is no resolver {found[1]}; ${{oc.env:NAME}} reads a variable, ${{KEY}} another key"
    return f"{key}: can't be resolved: {text}"


def as_user_error(error: BaseException) -> BaseException:
    """What a library raised over a configuration that can't be resolved, or a disk that can't be written, as an error
    that a user can fix; any other error as it is."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OmegaConfBaseException):
        return ConfigError(interpolation(error))
    for cause in _causes(error):
        # EPERM without a file is about processes.
        if isinstance(cause, OSError) and cause.errno in REASONS and (cause.filename or cause.errno != errno.EPERM):
            place = cause.filename2 or cause.filename or "a file"
            return TrainingError(
                f"{place}: could not be written or read: {reason_of(cause)}; free some space or choose another place, "
                "and run the same command again, with resume=true where a run was under way"
            )
    return error
