"""All stages, one after another: `python pipeline.py`; `python pipeline.py --help` shows what can be chosen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from launch.app import talking_verb
from launch.children import perform
from launch.pipeline import run_pipeline, separate

if TYPE_CHECKING:
    from launch.plan import Point


@talking_verb("pipeline", prepare=lambda typed: separate(typed)[0])
def pipeline(point: Point, overrides: list[str]) -> None:
    """Run the stages of a pipeline in order; finished ones are kept, and an interrupted one is continued."""
    single = separate([item for item in sys.argv[1:] if not item.startswith("-")])[1]
    run_pipeline(point, overrides, single, perform)


if __name__ == "__main__":
    pipeline()
