"""What models are compared on: the part of the data that no stage has trained on, and the guide's prompts."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from rlhf.config import DataConfig
from rlhf.data import readers
from rlhf.data.dataset import Dataset
from rlhf.data.readers import FieldError, read
from rlhf.data.records import Comparison, Kind, Prompt, Ranking, Record, as_prompts
from rlhf.errors import ConfigError, DataError
from verbs.datasets import load_data

log = logging.getLogger("rlhf")

GUIDE = Path(readers.__file__).parent / "prompts" / "guide.txt"

ANSWERED: tuple[Kind, ...] = ("comparisons", "demonstrations", "prompts")
"""What a record of a file may hold, most first: a comparison has a demonstration and a prompt in it too."""


@dataclass
class HeldOut:
    """Attributes:
    prompts: to be answered, each once.
    texts: to be predicted, of the kind `text_kind`; none where the data hold no text.
    comparisons: that people or a file made; the embedded task makes its own from the answers.
    """

    prompts: list[Prompt]
    texts: list[Record] = field(default_factory=list)
    text_kind: Kind = "documents"
    comparisons: list[Comparison | Ranking] = field(default_factory=list)


def held_out(data: DataConfig, prompts: int, texts: int, text: str | None = None, split: str = "auto") -> HeldOut:
    """The test part, or the validation part where the test part is empty.

    Args:
        split: `val` or `test` where only that part is wanted.
        prompts, texts: at most so many.
        text: a file or folder of documents that takes the place of the data's own.

    Raises:
        DataError: the data can't be read, or no prompt is held out.
    """
    if data.source == "assistant":
        found = HeldOut(as_prompts(_part(load_data(data, "prompts"), split)))
        if texts and text is None:
            found.texts = _part(load_data(data, "documents"), split)
    else:
        found = _answered(data, split)
    if not found.prompts:
        raise DataError(
            f"data.test_fraction: {data.test_fraction:g} and data.val_fraction: {data.val_fraction:g} hold no prompt "
            "out; raise one of them"
        )
    if text is not None and texts:
        try:
            found.texts, found.text_kind = read(text, "documents", data.on_error).items, "documents"  # type: ignore[arg-type]
        except DataError as error:
            raise DataError(f"evaluation.text: {error}") from error
    found.prompts, found.texts = found.prompts[:prompts], found.texts[:texts]
    return found


def _answered(data: DataConfig, split: str) -> HeldOut:
    """Of a file or data set, read as the kind of record that holds most."""
    for kind in ANSWERED:
        try:
            records = _part(load_data(data, kind), split)
        except FieldError:
            raise
        except DataError as error:
            if kind == ANSWERED[-1]:
                raise
            log.info("data: no %s (%s)", kind, error)
            continue
        comparisons = cast(list[Comparison | Ranking], records) if kind == "comparisons" else []
        return HeldOut(as_prompts(records), [] if kind == "prompts" else records, "demonstrations", comparisons)
    raise AssertionError("unreachable")


def _part(dataset: Dataset, split: str) -> list[Record]:
    if split == "auto":
        return dataset.test or dataset.val
    return dataset.test if split == "test" else dataset.val


def guide_prompts(file: Path = GUIDE) -> list[Prompt]:
    """The built-in test prompts, one a line; empty lines are passed over.

    Raises:
        ConfigError: the file can't be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ConfigError(f"evaluation.guide: {file} can't be read; pass evaluation.guide=false") from error
    return [Prompt.of(line.strip()) for line in lines if line.strip()]
