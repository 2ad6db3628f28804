"""Learning rates by the model's size and for adapters: defensible, as documented, and said where they apply."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.composition.compose import CONF, compose_point, hydra_session, options, to_config
from launch.planner import Planner
from rlhf.config import TrainConfig, algorithms, validate
from rlhf.errors import ConfigError

pytestmark = pytest.mark.ci

SIZES = ("100m", "500m", "1b", "3b", "8b")
STAGES = ("sft", "reward", "dpo", "ppo")

PUBLISHED = {
    "sft": (5e-6, 3e-4),  # Tülu 3 8B; SmolLM2-135M's lower rate
    "reward": (3e-6, 5e-5),  # Tülu 3 8B; Ziegler et al. 2019
    "dpo": (5e-7, 1e-5),  # Zephyr and Tülu 3 8B; the shortest runs of the smallest models
    "ppo": (3e-7, 1.5e-5),  # Tülu 3 8B; Stiennon et al. 2020
}
"""Lowest and highest rate that anyone reports for full fine-tuning of models of 0.1 to 8 billion parameters."""

Main = Callable[[str], int]


@cache
def composed(*overrides: str) -> TrainConfig:
    Planner(Path("outputs")).register()
    with hydra_session():
        config = to_config(compose_point(overrides))
    assert isinstance(config, TrainConfig)
    return config


def rates(recipe: str) -> dict[str, float]:
    return {stage: composed(f"algo={stage}", "model=hf", f"recipe={recipe}").algo.lr for stage in STAGES}


@pytest.mark.parametrize("size", SIZES)
def test_rates_are_within_what_was_published(size: str) -> None:
    for stage, rate in rates(size).items():
        low, high = PUBLISHED[stage]
        assert low <= rate <= high, stage


def test_larger_models_never_have_higher_rates() -> None:
    table = [rates(size) for size in SIZES]
    for stage in STAGES:
        column = [row[stage] for row in table]
        assert column == sorted(column, reverse=True), stage


@pytest.mark.parametrize("page", ["choosing.md", "zh/choosing.md"])
def test_the_documented_table(page: str) -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \|.*?\| (.*) \|$", (CONF.parent / "docs" / page).read_text(encoding="utf-8"))
    found = {name: [float(cell) for cell in cells.split(" | ")] for name, cells in rows if name in SIZES}
    assert found == {size: list(rates(size).values()) for size in SIZES}


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("gpt2", "100m"),
        ("smollm2-135m", "100m"),
        ("gpt2-medium", "500m"),
        ("qwen2.5-0.5b", "500m"),
        ("gpt2-large", "1b"),
        ("gpt2-xl", "1b"),
        ("llama-3.2-1b", "1b"),
    ],
)
def test_models_bring_the_recipe_of_their_size(model: str, size: str) -> None:
    assert composed("algo=dpo", f"model={model}").algo.lr == rates(size)["dpo"]


def test_every_published_model_has_a_recipe() -> None:
    assert set(options()["model"]) - {"tiny", "hf"} <= set(options()["recipe"])


@pytest.mark.parametrize("stage", algorithms())
def test_without_a_recipe_the_schema_holds(stage: str) -> None:
    """So the identities of such runs, without adapters, are what they were."""
    for overrides in (["model=hf"], ["model=gpt2", "recipe=none"]):
        assert composed(f"algo={stage}", *overrides).algo.lr == algorithms()[stage].lr
    tuned = yaml.safe_load((CONF / "tuned" / f"{stage}-tiny.yaml").read_text(encoding="utf-8"))["algo"]["lr"]
    assert str(composed(f"algo={stage}").algo.lr) == str(float(re.findall(r":([\d.e-]+)\}", tuned)[0]))


@pytest.mark.parametrize(
    ("which", "stage"),
    [
        *(("model=gpt2", stage) for stage in STAGES),
        ("model=hf", "dpo"),
        ("model=tiny", "ppo"),
        ("experiment=hh-cpu", "dpo"),
    ],
)
def test_adapters_take_ten_times_the_rate_unless_one_is_given(which: str, stage: str) -> None:
    full = composed(f"algo={stage}", which)
    adapters = composed(f"algo={stage}", which, "model.adapter=lora")
    assert adapters.algo.lr == pytest.approx(10 * full.algo.lr, rel=1e-12)
    assert composed(f"algo={stage}", which, "model.adapter=lora", "algo.lr=3e-5").algo.lr == 3e-5
    for config in (full, adapters):
        if which != "model=hf":
            validate(config)


def test_a_plain_number_in_an_experiment_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nalgo: {lr: 3e-4}\n")
    own = f"hydra.searchpath=[file://{tmp_path}]"
    assert composed(own, "experiment=mine", "model=gpt2", "model.adapter=lora").algo.lr == 3e-4


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe=8bb: no such option; did you mean 8b\?"):
        composed("recipe=8bb")
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text("# @package _global_\nalgo: {lr: 3e-4}\n")
    assert composed(f"hydra.searchpath=[file://{tmp_path}]", "recipe=mine", "model=gpt2").algo.lr == 3e-4


def job_page(main: Main, capsys: pytest.CaptureFixture[str], line: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What `--cfg job` prints: as YAML, and the comment of each key by its last name."""
    capsys.readouterr()
    assert main(f"{line} --cfg job") == 0
    text = capsys.readouterr().out
    return yaml.safe_load(text), dict(re.findall(r"(?m)^ *([\w.-]+):.*?  # (.*)$", text))


def test_cfg_job_says_where_values_come_from(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    content, said = job_page(main, capsys, "algo=dpo model=gpt2 train.batch_size=4 model.adapter=lora")
    assert (content["algo"]["lr"], content["algo"]["beta"]) == (5e-5, 0.1)
    assert said["lr"].startswith("conf/recipe/100m.yaml; ") and "5e-06" in said["lr"] and "ten times" in said["lr"]
    assert said["batch_size"] == said["adapter"] == "command line"
    assert said["n_embd"] == "conf/model/gpt2.yaml"
    assert said["beta"] == "conf/algo/dpo.yaml"
    assert "adam_eps" not in said, "a default of the schema, whose source the reference gives"


def test_cfg_job_is_what_will_run(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("", "experiment=kl-sweep model=gpt2 'logger.tags=[a,b]'".replace("'", ""), "algo=ppo seed=7"):
        content, _ = job_page(main, capsys, line)
        config = composed(*line.split())
        assert content["algo"] == vars(config.algo) and content["train"] == vars(config.train)
        assert content["model"] == vars(config.model) and content["seed"] == config.seed


def test_cfg_job_says_nothing_of_adapters_where_a_rate_is_given(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    content, said = job_page(main, capsys, "algo=dpo model=gpt2 model.adapter=lora algo.lr=1e-4")
    assert content["algo"]["lr"] == 1e-4 and said["lr"] == "command line"


def test_flags_may_stand_between_overrides(main: Main, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "x.yaml").write_text("# @package _global_\nseed: 77\n")
    content, said = job_page(main, capsys, "--config-dir mine experiment=x")
    assert content["seed"] == 77 and said["seed"].endswith("mine/experiment/x.yaml")


def test_the_log_says_that_the_rate_was_raised(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("algo=sft") == 0
    assert "algo.lr" not in capsys.readouterr().out
    assert main("algo=sft model.adapter=lora") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "algo.lr" in line]
    assert "0.007" in line and "0.0007" in line
