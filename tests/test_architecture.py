"""The import arrows of the house: who may lean on whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ("train", "pipeline", "collect", "evaluate", "merge", "chat", "serve", "plan", "report", "label", "prepare")
PACKAGES = ("rlhf", "lightning_modules", "callbacks", "tracking", "verbs", "launch", "conf", "hydra_plugins")

ABOVE = {
    "rlhf": set(),
    "lightning_modules": {"rlhf"},
    "callbacks": {"rlhf"},
    "tracking": {"rlhf"},
    "verbs": {"rlhf", "lightning_modules", "callbacks", "tracking"},
    # It imports verbs late, when the configuration is valid.
    "launch": {"rlhf", "verbs", "tracking"},
    # Hydra imports them at every start.
    "hydra_plugins": {"rlhf", "launch"},
}
WITHIN_RLHF = {
    "errors": set(),
    "plain_text": set(),
    "progress": set(),
    "quiet": set(),
    "terminal": {"plain_text"},
    "storage": {"errors", "progress"},
    "config": {"errors"},
    "data": {"errors", "storage"},
    "objectives": {"errors"},
    "runs": {"errors", "storage", "config"},
    # One implementation of each formula: what computes log-probabilities calls the objectives' own.
    "models": {"errors", "progress", "storage", "data", "objectives"},
    "rollout": {"errors", "data", "objectives", "models"},
    "rewards": {"errors", "data", "objectives", "models"},
    "capacity": {"errors", "config", "data", "objectives", "models", "rollout"},
    "evaluation": {"errors", "plain_text", "progress", "storage", "data", "objectives", "models", "rollout", "rewards"},
    "labelling": {"errors", "plain_text", "storage", "data", "objectives", "runs", "evaluation"},
    "reporting": {"errors", "plain_text", "storage", "config", "data", "runs", "evaluation", "labelling"},
}


def modules(package: str) -> list[Path]:
    single = ROOT / f"{package}.py"
    return [single] if single.exists() else sorted((ROOT / package).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere, within functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the arrows"
            # `from rlhf import errors` names a module too.
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_level_imports(file: Path) -> Iterator[str]:
    """As `imports`, but only what runs when the module is imported."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def circle_imports(file: Path) -> Iterator[str]:
    """As `top_level_imports`, and what stands under `if TYPE_CHECKING:`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    under_conditions = [inner for node in tree.body if isinstance(node, ast.If) for inner in node.body]
    for node in [*tree.body, *under_conditions]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_there_is_something_to_check() -> None:
    assert len(modules("rlhf")) > 20
    assert "rlhf.errors" in set(imports(ROOT / "rlhf" / "config" / "validation.py"))


@pytest.mark.parametrize("package", sorted(ABOVE))
def test_packages_lean_downwards_only(package: str) -> None:
    for file in modules(package):
        used = {name.split(".")[0] for name in imports(file)} & {*PACKAGES, *SCRIPTS}
        assert used <= ABOVE[package] | {package}, (
            f"{file.relative_to(ROOT)} imports {used - ABOVE[package] - {package}}"
        )


@pytest.mark.parametrize("part", sorted(WITHIN_RLHF))
def test_parts_of_the_library_lean_downwards_only(part: str) -> None:
    for file in modules(f"rlhf/{part}"):
        used = {name.split(".")[1] for name in imports(file) if name.startswith("rlhf.") and name.count(".")}
        used &= set(WITHIN_RLHF)
        wrong = used - WITHIN_RLHF[part] - {part}
        assert not wrong, f"{file.relative_to(ROOT)} imports rlhf.{', rlhf.'.join(sorted(wrong))}"


def test_every_part_of_the_library_has_its_arrows() -> None:
    parts = {path.stem for path in (ROOT / "rlhf").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} <= set(WITHIN_RLHF)


@pytest.mark.parametrize("framework", ["hydra", "omegaconf", "lightning", "pytorch_lightning"])
def test_the_library_knows_no_framework(framework: str) -> None:
    users = [file for file in modules("rlhf") if any(name.split(".")[0] == framework for name in imports(file))]
    assert users == []


def test_objectives_know_torch_alone() -> None:
    import sys

    for file in modules("rlhf/objectives"):
        outside = {name.split(".")[0] for name in imports(file)} - set(sys.stdlib_module_names) - {"torch", "rlhf"}
        assert not outside, f"{file.name} imports {outside}"


@pytest.mark.parametrize(
    "package",
    [
        "rlhf/config",
        "rlhf/runs",
        "rlhf/storage",
        "rlhf/errors",
        "launch",
        "hydra_plugins",
        *SCRIPTS,
    ],
)
def test_help_waits_for_no_heavy_library(package: str) -> None:
    """The slow half of the two-second promise: nothing heavy, however indirectly, before a configuration is valid."""
    heavy = {
        "joblib",
        "submitit",
        "ray",
        "optuna",
        "torch",
        "lightning",
        "transformers",
        "datasets",
        "tokenizers",
        "pyarrow",
        "wandb",
    }
    seen: set[Path] = set()
    queue = modules(package)
    while queue:
        file = queue.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in top_level_imports(file):
            assert name.split(".")[0] not in heavy, f"{file.relative_to(ROOT)} imports {name} at once"
            if name.split(".")[0] in PACKAGES:
                path = ROOT / Path(*name.split("."))
                queue += [found for found in (path.with_suffix(".py"), path / "__init__.py") if found.exists()]


def test_no_circles() -> None:
    """By module, over imports at the top of a file, those for types alone included: pass the values, not the module."""
    files = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for p in PACKAGES for file in modules(p)}
    files = {name.removesuffix(".__init__"): file for name, file in files.items()}
    graph = {name: {used for used in circle_imports(file) if used in files} for name, file in files.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for used in graph[name]:
                visit(used, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_files_stay_short() -> None:
    long = {
        str(file.relative_to(ROOT)) for p in PACKAGES for file in modules(p) if len(file.read_text().splitlines()) > 300
    }
    assert not long


ONE_FILE_A_THING = {
    "rlhf/config/algorithms": "an algorithm's keys and facts",
    "lightning_modules": "an algorithm's module",
    "rlhf/data/importers": "a data format",
}
"""Rooms in which one more thing is one more file, by name."""


def test_rooms_stay_small() -> None:
    """Whoever opens a folder reads all of its names at once; a room that grows past this has parts with names."""
    rooms: dict[str, int] = {}
    for package in (*PACKAGES, "benchmarks", "tests"):
        for file in modules(package):
            room = file.parent.relative_to(ROOT).as_posix()
            rooms[room] = rooms.get(room, 0) + (file.name not in ("__init__.py", "conftest.py"))
    assert rooms["rlhf/objectives"] > 5
    assert {room: n for room, n in rooms.items() if n > 15 and room not in ONE_FILE_A_THING} == {}


def is_name_of_algorithm(node: ast.expr) -> bool:
    """`….algo.name`, `summary.algo`, `run.algo`: what an algorithm is called."""
    return isinstance(node, ast.Attribute) and (
        node.attr == "algo"
        or (node.attr == "name" and isinstance(node.value, ast.Attribute) and node.value.attr == "algo")
    )


def names_compared(tree: ast.AST) -> Iterator[int]:
    """Lines that compare an algorithm's name with a string, or ask whether it is among some."""
    for node in ast.walk(tree):
        sides: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            sides = [node.subject, ast.Constant("")]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            sides = (
                [*node.args, *(key for key in node.func.value.keys if key)]
                if isinstance(node.func.value, ast.Dict)
                else node.args
            )
        words = [leaf for side in sides for leaf in ast.walk(side) if isinstance(leaf, ast.Constant)]
        if any(map(is_name_of_algorithm, sides)) and any(isinstance(word.value, str) for word in words):
            yield node.lineno  # type: ignore[attr-defined]


def test_nobody_asks_what_an_algorithm_is_called() -> None:
    """Facts stand on its class (`rlhf/config/algorithms`), or one more algorithm would change files all over."""
    seen = names_compared(
        ast.parse('config.algo.name == "ppo"\nrun.algo in ("dpo", "sft")\n{"dpo": 2}.get(c.algo.name, 1)')
    )
    assert list(seen) == [1, 2, 3]
    for package in (*PACKAGES, *SCRIPTS, "benchmarks"):
        for file in modules(package):
            lines = list(names_compared(ast.parse(file.read_text(encoding="utf-8"))))
            assert not lines, f"{file.relative_to(ROOT)}:{lines[0]} compares an algorithm's name with a word"
