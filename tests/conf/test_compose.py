"""Every option of every group composes, and runs or is refused with a sentence that says what to change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
import yaml

from launch.composition.compose import CONF, compose_point, hydra_session, load, options, to_config
from launch.composition.help import commented
from launch.planner import Planner
from launch.stages.rounds import written_out
from rlhf.config import PipelineConfig, TrainConfig, algorithms, validate
from rlhf.errors import ConfigError

OPTIONS = [
    (group, option) for group, found in options().items() for option in found if group not in ("tuned", "pipeline")
]
NEEDS = {
    ("model", "hf"): "model.path: missing",
    ("data", "jsonl"): "data.path: missing",
    ("data", "hub"): "data.path: missing",
    ("rollout", "vllm"): "rollout.engine: vllm is not installed here",
}


@pytest.fixture(autouse=True)
def planner() -> Iterator[None]:
    # hydra.run.dir names a run by its identity.
    Planner(Path("outputs")).register()
    yield


@cache
def composed(*overrides: str) -> TrainConfig:
    with hydra_session():
        config = to_config(compose_point(overrides))
    assert isinstance(config, TrainConfig)
    return config


def test_there_are_options() -> None:
    found = options()
    methods = {"cpo", "dpo", "grpo", "kto", "orpo", "ppo", "pretrain", "reward", "rloo", "sft", "simpo"}
    assert methods <= set(found["algo"])
    assert set(found["strategy"]) == {"cpu", "gpu", "ddp", "fsdp", "zero2", "zero3"}
    assert set(found["rollout"]) == {"torch", "vllm"}
    assert {"small", "middle", "large"} <= set(found["experiment"])
    assert {"tiny", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "smollm2-135m", "qwen2.5-0.5b", "hf"} <= set(
        found["model"]
    )


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=["=".join(pair) for pair in OPTIONS])
def test_every_option_composes_and_validates(group: str, option: str) -> None:
    config = composed(f"{group}={option}")
    if (group, option) in NEEDS:
        with pytest.raises(ConfigError, match=NEEDS[group, option]):
            validate(config)
    else:
        validate(config)


def test_options_that_need_a_path_run_with_one(tmp_path: Path) -> None:
    load(["model=hf", "model.path=EleutherAI/pythia-70m"])
    load(["data=jsonl", f"data.path={tmp_path}"])
    load(["data=hub", "data.path=Anthropic/hh-rlhf"])


def test_the_default_is_sft_of_tiny_on_the_embedded_task() -> None:
    config = composed()
    validate(config)
    assert (config.algo.name, config.model.name, config.data.name) == ("sft", "tiny", "assistant")
    assert (config.strategy.accelerator, config.strategy.devices) == ("cpu", 1)


@pytest.mark.parametrize("option", options()["pipeline"])
def test_every_pipeline_composes_and_so_do_its_stages(option: str) -> None:
    with hydra_session("pipeline"):
        config = to_config(compose_point([f"pipeline={option}"], "pipeline"))
    assert isinstance(config, PipelineConfig)
    validate(config)
    for stage in written_out(config, rounds=1).values():
        # Those of the other verbs need runs, and are composed in tests of the pipeline.
        if stage.verb == "train":
            validate(composed(*stage.overrides))


@pytest.mark.parametrize(("verb", "needs"), [("collect", []), ("chat", []), ("evaluate", ["models.sft=auto"])])
def test_every_verb_composes(verb: str, needs: list[str]) -> None:
    with hydra_session(verb):
        validate(to_config(compose_point(needs, verb)))


MODELS = options()["model"]
STRATEGIES = options()["strategy"]


@pytest.mark.parametrize("model", MODELS)
def test_stages_models_and_strategies_combine_freely(model: str) -> None:
    """Sections are composed once and put together here; the slow test below composes all 270 for a minute."""
    base = composed(f"model={model}")
    if model == "hf":
        base = dataclasses.replace(base, model=dataclasses.replace(base.model, path="some/model"))
    for algo in options()["algo"]:
        stage = composed(f"algo={algo}")
        for name in STRATEGIES:
            strategy = composed(f"strategy={name}").strategy
            config = dataclasses.replace(base, algo=stage.algo, train=stage.train, strategy=strategy)
            if ("strategy", name) in NEEDS:
                with pytest.raises(ConfigError, match=NEEDS["strategy", name]):
                    validate(config)
            else:
                validate(config)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("algo", options()["algo"])
def test_the_whole_product_composes(algo: str, model: str, strategy: str) -> None:
    path = ["model.path=some/model"] if model == "hf" else []
    config = composed(f"algo={algo}", f"model={model}", f"strategy={strategy}", *path)
    assert config.strategy == composed(f"strategy={strategy}").strategy


@pytest.mark.parametrize(
    ("experiment", "stages"),
    [
        ("small", ("sft", "dpo")),
        ("middle", ("sft", "dpo")),
        ("large", ("sft", "reward", "ppo")),
        ("hh-cpu", ("sft", "reward", "dpo", "ppo")),
    ],
)
def test_an_experiment_serves_every_stage_of_its_pipeline(experiment: str, stages: tuple[str, ...]) -> None:
    assert experiment in options()["experiment"]
    for algo in stages:
        config = composed(f"experiment={experiment}", f"algo={algo}")
        validate(config)
        assert config.algo.name == algo


def test_budgets_of_the_guide() -> None:
    small, middle, large = (composed(f"experiment={name}") for name in ("small", "middle", "large"))
    assert (small.algo.name, small.model.name) == ("dpo", "gpt2")
    assert (middle.algo.name, middle.model.name) == ("dpo", "gpt2-medium")
    assert (large.algo.name, large.model.name, large.strategy.layout) == ("ppo", "gpt2-large", "ddp")


def test_the_command_line_wins_over_stage_pair_and_experiment() -> None:
    assert composed("algo=dpo").algo.lr == 2.5e-4
    assert composed("algo=dpo", "model=hf").algo.lr == 1e-6
    assert composed("algo=dpo", "model=gpt2").algo.lr == 5e-6
    assert composed("algo=dpo", "algo.lr=3e-5").algo.lr == 3e-5
    assert composed("experiment=small").train.tokens_per_microbatch == 8192
    assert composed("experiment=small", "train.tokens_per_microbatch=99").train.tokens_per_microbatch == 99
    assert composed("experiment=small", "model=gpt2-xl").model.name == "gpt2-xl"


def test_zero3_is_another_name_for_fsdp() -> None:
    assert composed("strategy=zero3").strategy == composed("strategy=fsdp").strategy


def test_off_stays_a_word() -> None:
    """YAML 1.1 reads a bare `off` as false."""
    assert composed("logger=csv").logger.wandb == "off"
    assert composed("logger.wandb=off").logger.wandb == "off"


def test_names_of_options_are_the_names_in_directories() -> None:
    for group in ("model", "data"):
        for option in options()[group]:
            assert getattr(composed(f"{group}={option}"), group).name == option
    for option in options()["algo"]:
        assert composed(f"algo={option}").algo.name == option


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF)))
def test_every_file_says_what_it_is_for(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    body = [line for line in lines if not line.startswith("# @package")]
    assert body[0].startswith("# "), "the first line is a comment"
    assert yaml.safe_load("\n".join(lines)) is not None


@pytest.mark.parametrize("algo", options()["algo"])
def test_an_algorithms_file_shows_the_schemas_defaults(algo: str) -> None:
    """Value, meaning, range and source of each key, as --help prints them; the learning rate is in a comment, since it
    is chosen by recipes."""
    known = [" ".join(line.split()) for line in commented(algorithms()[algo]())]
    block = (CONF / "algo" / f"{algo}.yaml").read_text(encoding="utf-8").partition("\nalgo:\n")[2]
    shown = [" ".join(line.split()) for line in takewhile(lambda line: line.startswith(" "), block.splitlines())]
    keys = [line.removeprefix("# ") for line in shown if not line.startswith("# ") or line.startswith("# lr:")]
    assert len(keys) >= 6 and keys[0].startswith("lr: ") and shown[1] == f"# {keys[0]}"
    assert [line for line in keys if line not in known] == []


def test_every_pair_in_tuned_is_a_stage_and_a_model() -> None:
    pairs = {f"{algo}-{model}" for algo in options()["algo"] for model in MODELS}
    assert set(options()["tuned"]) <= pairs


def test_the_comparison_of_methods_leaves_none_out() -> None:
    params = yaml.safe_load((CONF / "experiment" / "methods.yaml").read_text(encoding="utf-8"))["hydra"]["sweeper"]
    named = params["params"]["algo"].split(",")
    aligning = [n for n, cls in algorithms().items() if cls.answers() and cls.learns_from != "demonstrations"]
    assert len(named) == len(set(named)) and set(named) == set(aligning)
