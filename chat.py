"""Talk to a finished model: `python chat.py model.init=RUN`; `python chat.py --help` shows what can be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launch.app import talking_verb

if TYPE_CHECKING:
    from launch.plan import Point


@talking_verb("chat")
def chat(point: Point, overrides: list[str]) -> None:
    """Talk to a finished run or a model folder. Each line is a turn; /help lists what else can be typed there."""
    # Here, since it imports torch, and a mistyped key should be told without waiting for that.
    from launch.chat import converse

    converse(point.config, point.parents)


if __name__ == "__main__":
    chat()
