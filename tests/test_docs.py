"""What the pages point to is there: links, files, tests, options and keys of commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launch.compose import options
from rlhf.config import ALGORITHMS, TrainConfig, keys

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TABLES = (ROOT / "docs" / "details.md").read_text(encoding="utf-8")
DETAILS = re.findall(r"^\| (\d+) \|.*\| `([^`|]+)` \| (?:`([^`|]+)`|–) \|$", TABLES, re.MULTILINE)
COMMAND = r"^(?:[^`|]*&& *)?python train\.py.*$|`python train\.py[^`]*`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", prose):
        file = page.parent / target if target else page
        assert file.exists(), target
        headings = [
            line.lstrip("# ").lower() for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")
        ]
        assert not anchor or anchor in [re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings]


def test_details_are_numbered_from_1() -> None:
    assert [int(number) for number, _, _ in DETAILS] == list(range(1, len(DETAILS) + 1))
    rows = [line for line in TABLES.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == len(DETAILS) > 50, "every row has its code and its test, or a dash"


@pytest.mark.parametrize(("code", "test"), sorted({(code, test) for _, code, test in DETAILS}))
def test_details_name_code_and_tests_that_exist(code: str, test: str) -> None:
    assert (ROOT / code).is_file()
    if test:
        file, *classes, name = test.split("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        for title in classes:
            text = text.split(f"\nclass {title}:\n", 1)[1].split("\nclass ", 1)[0]
        assert re.search(rf"^{'    ' * len(classes)}def {name}\b", text, re.MULTILINE), test


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "extending.md"], ids=lambda page: page.name)
def test_commands_use_options_and_keys_that_exist(page: Path) -> None:
    groups = options()
    known = {key.name for key in keys(TrainConfig)}
    known |= {key.name for algorithm in ALGORITHMS.values() for key in keys(algorithm, "algo.")}
    for line in re.findall(COMMAND, page.read_text(encoding="utf-8"), re.MULTILINE):
        for name, value in re.findall(r"(?<![\w./])([a-z][\w./]*)=([^\s`\"']*)", line.split("  #")[0]):
            if name.startswith("hydra/"):
                assert (ROOT / "conf" / name / f"{value}.yaml").is_file(), f"{name}={value}"
            elif name in groups:
                assert value in groups[name] or not re.fullmatch(r"[a-z0-9.-]+", value), f"{name}={value}"
            else:
                assert name in known or name.startswith(("hydra.", "model.architecture.")), name
