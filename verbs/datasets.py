"""Records as the section `data` of a configuration asks for them."""

from __future__ import annotations

from rlhf.config import DataConfig
from rlhf.data.dataset import Dataset, load
from rlhf.data.records import Kind


def load_data(data: DataConfig, kind: Kind) -> Dataset:
    """Read or generated, and split by prompt.

    Raises:
        DataError: the data can't be read, or nothing is left to train on.
    """
    return load(
        kind,
        source=data.source,  # type: ignore[arg-type]
        path=data.paths,
        weights=data.weights,
        format=data.format,
        on_error=data.on_error,  # type: ignore[arg-type]
        seed=data.seed,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction,
        limit=data.limit,
        split=data.split,
        subset=data.subset,
        ignore=data.ignore,
        val_path=data.val_path,
        fields=data.fields,
        train_examples=data.train_examples,
        train_responses=data.train_responses,
    )
