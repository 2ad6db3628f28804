"""Rules of `prepare.py`'s synthetic source."""

from __future__ import annotations

import re

from rlhf.config.endpoint import check_server
from rlhf.config.paths import check_exists
from rlhf.config.sections import SAFE_NAME
from rlhf.config.verbs.preparation import PrepareConfig
from rlhf.config.verbs.synthetic import CRITIQUE_REVISE, METHODS, SELF_INSTRUCT, SyntheticConfig
from rlhf.errors import ConfigError

ONLY = {
    SELF_INSTRUCT: (
        "seed_examples", "generated_examples", "per_request", "requests_per_round", "max_requests", "novelty",
        "min_words", "max_words", "blacklist",
    ),
    CRITIQUE_REVISE: ("constitution", "revisions", "initial"),
}  # fmt: skip
"""Keys that one method alone reads."""
NEEDS_COMPARISONS = ("comparisons", "labels")
"""Kinds that come of the first answer against the revision."""


def check_synthetic(config: PrepareConfig) -> None:
    """Raises:
    ConfigError: the first thing that is wrong, in one sentence.
    """
    chosen = config.synthetic
    usual = SyntheticConfig()
    wanted = f"synthetic.method={chosen.method}"
    if chosen.method == "none":
        for name in ("path", "count"):
            if getattr(chosen, name) is not None:
                raise ConfigError(f"synthetic.method: none, but synthetic.{name} is given; pass {' | '.join(METHODS)}")
        check_server("synthetic.endpoint", chosen.endpoint, None)
        return
    for method, names in ONLY.items():
        for name in names:
            if chosen.method != method and getattr(chosen, name) != getattr(usual, name):
                raise ConfigError(f"synthetic.{name}: is of synthetic.method={method}, and this is {chosen.method}")
    if chosen.path is None:
        raise ConfigError(f"synthetic.path: missing; {wanted} needs synthetic.path=FILE")
    check_exists("synthetic.path", chosen.path)
    if not re.fullmatch(SAFE_NAME, chosen.name):
        raise ConfigError(f"synthetic.name: {chosen.name!r}; use letters, digits, '.', '_' and '-'")
    if chosen.method == SELF_INSTRUCT:
        if chosen.count is None:
            raise ConfigError(f"synthetic.count: missing; {wanted} needs the number of instructions to keep")
        if chosen.max_words < chosen.min_words:
            raise ConfigError(f"synthetic.max_words: {chosen.max_words} is less than synthetic.min_words")
        if not all(word.strip() for word in chosen.blacklist):
            raise ConfigError("synthetic.blacklist: holds an empty word, which every instruction has")
    if chosen.constitution is not None:
        check_exists("synthetic.constitution", chosen.constitution)
    if config.kind in NEEDS_COMPARISONS and chosen.method != CRITIQUE_REVISE:
        raise ConfigError(
            f"kind: {wanted} writes demonstrations, and kind={config.kind} needs two answers; pass "
            "kind=demonstrations, or synthetic.method=critique_revise"
        )
    if config.kind == "steps":
        raise ConfigError("kind: steps have labels, which no synthetic.method writes; pass kind=demonstrations")
    check_server("synthetic.endpoint", chosen.endpoint, wanted)
