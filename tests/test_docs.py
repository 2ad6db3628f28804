"""What the pages point to is there: links, files, tests, options, keys, metrics; and both languages say the same."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launch.composition.compose import options
from rlhf.config import VERBS, TrainConfig, algorithms, keys
from rlhf.evaluation import symptoms
from rlhf.evaluation.overoptimisation import onset
from rlhf.reporting.remedies import remedies
from rlhf.reporting.sentences import LANGUAGES, TITLES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("**/*.md"))]
GROUPS = options()
KEYS = {key.name for verb in (TrainConfig, *VERBS.values()) for key in keys(verb)}
KEYS |= {key.name for algorithm in algorithms().values() for key in keys(algorithm, "algo.")}
SECTIONS = {name.split(".")[0] for name in KEYS if "." in name}
TUNING = dict(zip(LANGUAGES, (DOCS / "tuning.md", DOCS / "zh" / "tuning.md"), strict=True))
TABLES = (ROOT / "docs" / "details.md").read_text(encoding="utf-8")
DETAILS = re.findall(r"^\| (\d+) \|.*\| `([^`|]+)` \| (?:`([^`|]+)`|–) \|$", TABLES, re.MULTILINE)
FREE = (
    "hydra.",
    "model.architecture.",
    "models.",
    "stages.",
    "evaluation.proxies.",
    "evaluation.policies.",
    "evaluation.rounds.",
)
"""Keys below these are anyone's."""
NO_KEYS = (
    "train.py",
    "train.jsonl",
    "plan.py",
    "merge.py",
    "evaluate.py",
    "collect.py",
    "chat.py",
    "train.log",
    "evaluation.json",
    "algo.bet",
)
"""Files, and a key that a page misspells on purpose."""
COMMAND = r"^(?:[^`|\n]*&& *)?python \w+\.py.*$|`python \w+\.py[^`]*`"
STAGE = r"(?:pretrain|sft|preferences|reward|ppo|dpo|(?:reward|ppo)_\d+|evaluate)\."
"""In front of a key of one stage of a pipeline."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Without fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", prose(page)):
        file = page.parent / target if target else page
        assert file.exists(), target
        if not anchor:
            continue
        headings = [
            line.lstrip("# ").lower() for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")
        ]
        assert anchor in [re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings]


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


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "extending.md"], ids=name_of)
def test_commands_use_options_and_keys_that_exist(page: Path) -> None:
    for line in re.findall(COMMAND, page.read_text(encoding="utf-8"), re.MULTILINE):
        for name, value in re.findall(r"(?<![\w./])([a-z][\w./]*)=([^\s`\"']*)", line.split("  #")[0]):
            name = re.sub(f"^{STAGE}", "", name) if "pipeline.py" in line else name
            if name.startswith("hydra/"):
                assert (ROOT / "conf" / name / f"{value}.yaml").is_file(), f"{name}={value}"
            elif name in GROUPS:
                assert value in GROUPS[name] or not re.fullmatch(r"[a-z0-9.-]+", value), f"{name}={value}"
            else:
                assert name in KEYS or name.startswith(FREE), name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_keys_in_backticks_exist(page: Path) -> None:
    """`algo.kl_coef` and `algo.kl_coef=0.1`, in prose and in tables."""
    for quoted in re.findall(r"`([^`\n]+)`", prose(page)):
        for name in re.findall(r"(?:^|\s)([a-z_]+(?:\.[a-z_0-9]+)+)(?=$|[=:,\s])", quoted):
            if name.split(".")[0] in SECTIONS and name not in NO_KEYS:
                # `reward` is a section, and a stage of the pipeline.
                name = name if name in KEYS else re.sub(f"^{STAGE}", "", name)
                assert name in KEYS or name.startswith(FREE), name


@pytest.mark.parametrize("page", [DOCS / "stages.md", *TUNING.values()], ids=name_of)
def test_metrics_in_backticks_are_logged(page: Path) -> None:
    """Their last part, or all of it, is a text of the code that measures; prefixes are put in front of it there."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sorted((ROOT / "lightning_modules").rglob("*.py"))]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    last = {str(text).split("/")[-1] for text in texts} | {"grad_norm_policy", "grad_norm_critic"}
    named = set(re.findall(r"`((?:train|val|objective|policy|value|response|time)/\w+)`", prose(page)))
    assert len(named) > 15
    for name in sorted(named):
        assert name in texts or (name.startswith(("train/", "val/")) and name.split("/")[1] in last), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_tuning_names_every_warning_with_its_knobs_and_thresholds(language: str) -> None:
    page = TUNING[language].read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    code = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in (symptoms, onset))
    findings = re.findall(r'Finding\(\s*"(\w+)",\s*"(\w+)"', code)
    assert {symptom for symptom, _ in findings} == set(TITLES)
    for symptom, finding in findings:
        section = sections[TITLES[symptom][LANGUAGES.index(language)]]
        told = " ".join(english for english, _ in remedies(finding))
        for key in re.findall(r"\b(?:algo|train|data|reward|rollout)\.\w+", told):
            assert f"`{key}" in section, f"{symptom}: {key}"
    seen = {
        "reward_hacking": (f"{symptoms.LENGTH_RATIO:g}", f"{symptoms.KL_HIGH:g}"),
        "mode_collapse": (f"{symptoms.SELF_BLEU_HIGH:g}", f"{symptoms.DISTINCT_RATIO:g}"),
        "forgetting": (f"{symptoms.BITS_RATIO:.0%}",),
    }
    for symptom, figures in seen.items():
        section = sections[TITLES[symptom][LANGUAGES.index(language)]]
        assert not [figure for figure in figures if figure not in section], symptom


def blocks(page: Path) -> list[str]:
    """Fenced blocks without the shell's comments."""
    found = re.findall(r"^```.*?^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [re.sub(r"  +#.*", "", block) for block in found]


@pytest.mark.parametrize("page", [ROOT / "README.zh-CN.md", *sorted((DOCS / "zh").glob("*.md"))], ids=name_of)
def test_chinese_pages_have_the_blocks_keys_and_metrics_of_the_english_ones(page: Path) -> None:
    english = ROOT / "README.md" if page.parent == ROOT else DOCS / page.name
    assert blocks(page) == blocks(english)
    quoted = [sorted(set(re.findall(r"`([\w./=-]+)`", prose(one)))) for one in (page, english)]
    assert quoted[0] == quoted[1]


def test_opening_commands_stand_word_for_word() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        opening = (ROOT / name).read_text(encoding="utf-8").split("```")[1]
        assert opening == "sh\npip install -e . && python pipeline.py\npip install -e '.[dev]' && pytest\n"


def test_the_first_screen_shows_one_small_picture_in_front_of_the_commands() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (picture,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
        assert picture in text.split("```")[0] and (ROOT / picture).stat().st_size < 300_000


def test_the_comparison_of_libraries_says_the_same_in_both_languages() -> None:
    """A dash and an empty cell mean something, and so do the versions that were looked at."""
    found = []
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        rows = text.split("| | rlhf-lab", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
        cells = [
            [cell.strip()[:1] if cell.strip()[:1] in "–" else "x" for cell in row.split("|")[2:-1]] for row in rows
        ]
        assert len(cells) > 10 and {len(row) for row in cells} == {5}
        found.append((cells, re.findall(r"(?:TRL|OpenRLHF|verl|LLaMA-Factory) (\d+\.\d+\.\d+)", text)))
    assert found[0] == found[1] and len(found[0][1]) == 4


def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Links and anchors of all pages, as `mkdocs build --strict` checks them."""
    pytest.importorskip("material", reason="pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    pages = {page.relative_to(DOCS).with_suffix("") for page in DOCS.glob("**/*.md")}
    assert not [page for page in pages if not (tmp_path / "site" / page / "index.html").exists()]
