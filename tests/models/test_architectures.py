"""The table of architectures in `docs/models.md` says what the lab does with each family."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.families.architectures import BEGIN, END, HEADER, row_of
from benchmarks.families.configurations import FAMILIES

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
TABLE = {
    cells[0]: cells
    for line in PAGE.split(BEGIN)[1].split(END)[0].splitlines()
    if (cells := re.split(r" \| ", line.strip("| "))) and cells[0] in FAMILIES
}


def test_every_family_stands_in_the_table() -> None:
    assert list(TABLE) == list(FAMILIES)
    assert {len(cells) for cells in TABLE.values()} == {len(HEADER)}


def test_what_fails_is_refused_in_a_sentence_of_the_lab() -> None:
    failing = {cell for cells in TABLE.values() for cell in cells if cell.startswith("no:") or "refused" in cell}
    assert all(re.match(r"no: (model|strategy|rollout)\.\w+: ", cell) for cell in failing), failing


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    store = tmp_path_factory.mktemp("group") / "store"
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_holds(family: str) -> None:
    assert row_of(family) == TABLE[family]
