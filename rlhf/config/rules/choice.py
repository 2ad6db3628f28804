"""What `collect.select` needs."""

from __future__ import annotations

from rlhf.config.paths import check_exists
from rlhf.config.verbs.schemas import CollectSettings
from rlhf.errors import ConfigError


def check_choice(collect: CollectSettings) -> None:
    """Raises:
    ConfigError: what the choice of pairs goes by is missing, or given for nothing.
    """
    if collect.answers is not None:
        check_exists("collect.answers", collect.answers)
    for path in collect.exclude:
        check_exists("collect.exclude", path)
    if collect.select is None:
        for name in ("comparisons", "ensemble", "exclude"):
            if getattr(collect, name):
                raise ConfigError(f"collect.{name}: is for collect.select, which is null; pass collect.select=random")
        return
    if collect.comparisons is None:
        raise ConfigError(f"collect.comparisons: missing; collect.select={collect.select} needs a number of pairs")
    if collect.ensemble and collect.select not in ("disagreement", "margin"):
        raise ConfigError(f"collect.ensemble: collect.select={collect.select} does not go by scores; leave it out")
    for way, least in (("disagreement", 2), ("margin", 1)):
        if collect.select == way and len(set(collect.ensemble)) < least:
            raise ConfigError(
                f"collect.ensemble: collect.select={way} goes by {least} or more reward models; "
                "pass collect.ensemble=[RUN,RUN]"
            )
    if len(set(collect.ensemble)) < len(collect.ensemble):
        raise ConfigError("collect.ensemble: a member is listed twice, and would agree with itself")
