"""The graph of stages: which run, with which overrides, what is kept, and how a failure is told."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from stage_runners import Stages

from launch.app import Program
from launch.composition.compose import compose_point, hydra_session, to_config
from launch.pipeline import run_pipeline
from launch.planner import Planner, Point
from launch.programs import PROGRAMS
from launch.stages import side_by_side
from launch.stages.graph import Plan, check, name_of, overrides_of, plan, separate
from rlhf.config import PipelineConfig, StageConfig
from rlhf.errors import ConfigError, Interrupted, TrainingError, UserError
from rlhf.runs import Summary

pytestmark = pytest.mark.ci


def composed(*typed: str) -> PipelineConfig:
    Planner(Path("outputs")).register()
    with hydra_session("pipeline"):
        config = to_config(compose_point(typed, "pipeline"))
    assert isinstance(config, PipelineConfig)
    return config


def planned(*typed: str) -> tuple[PipelineConfig, Plan]:
    mine, single = separate(typed)
    config = composed(*mine)
    return config, plan(config, mine, single)


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(tmp_path)


@pytest.fixture
def pipeline(stages: Stages) -> Callable[..., None]:
    def run(*typed: str) -> None:
        mine, single = separate(typed)
        run_pipeline(Point(composed(*mine), {}, "id"), mine, single, stages)

    return run


def test_the_embedded_task_runs_every_stage_with_its_parents(pipeline: Callable[..., None], stages: Stages) -> None:
    pipeline("seed=3", "data.seed=5")
    assert [verb for verb, _ in stages.calls] == [
        "train", "train", "collect", "train", "train", "train", "evaluate",
    ]  # fmt: skip
    assert [o for o in stages.calls[0][1] if o.startswith("model.init")] == []
    pretrain, sft, collect, reward, ppo, dpo, evaluate = [overrides for _, overrides in stages.calls]
    root = stages.root
    assert pretrain == ["seed=3", "data.seed=5", "algo=pretrain", "resume=true"]
    assert f"model.init='{root}/run-1'" in sft
    assert collect == ["seed=3", "data.seed=5", f"model.init='{root}/run-2'", "resume=true"]
    for learner in (reward, dpo):
        assert f"data.path='{root}/run-3/preferences.jsonl'" in learner
        # Split as the task is: a held-out prompt stays held out, although it comes from a file now.
        assert {"data=jsonl", "data.seed=5", "data.val_fraction=0.1", "data.test_fraction=0.12"} <= set(learner)
    assert f"algo.reward_model='{root}/run-4'" in ppo
    assert {f"models.base='{root}/run-1'", f"models.dpo='{root}/run-6'", f"models.ppo='{root}/run-5'"} <= set(evaluate)
    assert all(overrides[-1] == "resume=true" for _, overrides in stages.calls)


def test_a_pretrained_model_on_human_comparisons_needs_neither_pretraining_nor_a_collection(
    pipeline: Callable[..., None], stages: Stages, tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    data = tmp_path / "pairs.jsonl"
    data.write_text("{}")
    pipeline("model=smollm2-135m", f"model.path={tmp_path}/base", "data=hh_rlhf", f"data.path={data}")
    assert [verb for verb, _ in stages.calls] == ["train", "train", "train", "train", "evaluate"]
    sft, reward, _, _, evaluate = [overrides for _, overrides in stages.calls]
    assert not any(item.startswith("model.init") for item in sft), "what model.path names, as for train.py"
    assert {"data=hh_rlhf", f"data.path={data}"} <= set(reward)
    assert f"models.base='{tmp_path}/base'" in evaluate
    assert not any(item.startswith("model") and not item.startswith("models.") for item in evaluate)


def test_a_key_of_one_stage_reaches_that_stage_alone(pipeline: Callable[..., None], stages: Stages) -> None:
    pipeline("ppo.algo.kl_coef=0.3", "+evaluate.models.best=auto", "pipeline=full")
    assert [number for number, (_, o) in enumerate(stages.calls) if "algo.kl_coef=0.3" in o] == [4]
    assert "+models.best=auto" in stages.calls[6][1]


def test_a_logger_that_was_asked_for_is_every_stages(pipeline: Callable[..., None], stages: Stages) -> None:
    typed = ["logger=wandb", "logger.project=mine", "logger.tags=[a]"]
    pipeline(*typed)
    assert len(stages.calls) == 7 and all(set(typed) <= set(overrides) for _, overrides in stages.calls)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["ppoo.algo.kl_coef=1"], "ppoo.algo.kl_coef: not a key of the pipeline, nor of a stage; did you mean ppo?"),
        (["train.max_steps=3"], "write STAGE.KEY=VALUE"),
        (["ppo=3"], "ppo: not a key of the pipeline"),
        (["stages.ppo.parents={model.init: nobody}"], "nobody is not an earlier stage"),
    ],
)
def test_refusals(typed: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        planned(*typed)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("dpo.algo.beeta=1", "stage dpo: algo.beeta: unknown key; did you mean algo.beta?"),
        ("evaluate.evaluation.best_of=-1", "stage evaluate: evaluation.best_of: "),
        ("ppo.algo.clip_epsilon=-1", "stage ppo: algo.clip_epsilon: "),
    ],
)
def test_every_stage_is_checked_before_the_first_one_runs(
    pipeline: Callable[..., None], stages: Stages, typed: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        pipeline(typed)
    assert not stages.calls


def test_the_first_failure_stops_and_says_how_to_go_on(pipeline: Callable[..., None], stages: Stages) -> None:
    stages.codes[4] = 2
    with pytest.raises(UserError, match=r"stage reward failed.*finished stages are kept.*train\.py"):
        pipeline()
    assert len(stages.calls) == 4


def test_an_interrupted_stage_interrupts_the_pipeline(pipeline: Callable[..., None], stages: Stages) -> None:
    stages.codes[2] = 130
    with pytest.raises(Interrupted):
        pipeline()
    assert len(stages.calls) == 2


@pytest.mark.parametrize(
    ("final", "last", "sentence"),
    [
        (
            {"forgetting": 3.0, "val/accuracy": 0.8},
            2,
            "stage sft missed its gate: forgetting is 3, must be at most 2.0",
        ),
        ({"forgetting": 0.1, "val/accuracy": 0.5}, 4, "stage reward missed its gate: val/accuracy is 0.5, must be at"),
    ],
)
def test_a_gate_that_is_missed_stops(
    pipeline: Callable[..., None], stages: Stages, final: dict[str, float], last: int, sentence: str
) -> None:
    stages.final = final
    with pytest.raises(TrainingError, match=sentence):
        pipeline()
    assert len(stages.calls) == last


def test_gates_can_be_opened_and_moved(pipeline: Callable[..., None], stages: Stages) -> None:
    stages.final = {"val/accuracy": 0.5}  # forgetting was not measured: that gate is optional
    pipeline("stages.reward.gates={val/accuracy: {min: 0.4}}")
    assert len(stages.calls) == 7
    with pytest.raises(ConfigError, match="no score in summary"):
        pipeline("+stages.sft.gates={score: {min: 1}}")
    stages.final = {"val/accuracy": 0.1}
    stages.calls.clear()
    pipeline("gates=false")
    assert len(stages.calls) == 7


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)


IN_TURN = [["pretrain"], ["sft"], ["preferences"]]


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("typed", "threads"), [("", ["strategy.threads=2"]), ("strategy.threads=1", ["strategy.threads=1"])]
)
def test_stages_that_need_nothing_of_each_other_run_side_by_side(
    typed: str, threads: list[str], pipeline: Callable[..., None], stages: Stages
) -> None:
    pipeline("parallel=2", "sft.algo.lr=1e-3", *typed.split())
    assert stages.at_once == [*IN_TURN, ["reward", "dpo"], ["dpo", "ppo"], ["ppo"], ["evaluate"]]
    assert [name for name, beside in stages.beside.items() if beside] == ["reward", "dpo", "ppo"]
    both = {o: overrides for _, overrides in stages.calls for o in overrides if o.startswith("algo=")}
    assert "data=jsonl" in both["algo=dpo"] and any(o.startswith("algo.reward_model=") for o in both["algo=ppo"])
    assert all([o for o in overrides if "threads" in o] == threads for _, overrides in stages.calls)


@pytest.mark.parametrize("typed", ["", "parallel=2 dpo.model.init=auto"])
def test_others_run_one_after_another(pipeline: Callable[..., None], stages: Stages, typed: str) -> None:
    """As is the default; and auto would find another model if the stage began before those ahead of it are done."""
    pipeline(*typed.split())
    assert all(len(names) == 1 for names in stages.at_once) and not any(stages.beside.values())


@pytest.mark.parametrize(("code", "error"), [(1, UserError), (130, Interrupted), (75, Interrupted)])
def test_one_that_fails_or_is_interrupted_stops_the_other(
    pipeline: Callable[..., None], stages: Stages, code: int, error: type[Exception]
) -> None:
    stages.codes = {4: code}
    with pytest.raises(error, match="stage reward"):
        pipeline("parallel=2")
    assert stages.stopped == ["dpo"] and len(stages.calls) == 5


def test_one_that_misses_its_gate_stops_the_other(pipeline: Callable[..., None], stages: Stages) -> None:
    stages.final = {"val/accuracy": 0.5}
    with pytest.raises(TrainingError, match="stage reward missed its gate: val/accuracy"):
        pipeline("parallel=2")
    assert stages.stopped == ["dpo"]


def test_names_of_overrides() -> None:
    assert [name_of(item) for item in ("+a.b=1", "~c", "++d=e=f", "g@h=i")] == ["a.b", "c", "d", "g"]


def test_dpo_alone_has_no_reward_model() -> None:
    config, found = planned("pipeline=dpo")
    assert list(found.stages) == ["pretrain", "sft", "preferences", "dpo", "evaluate"]
    done = {name: Path(f"/{name}") for name in found.stages}
    assert "evaluation.reward_model=null" in overrides_of("evaluate", found, config, done)


def test_cfg_shows_the_pipelines_own_part(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = Program("pipeline", talk=lambda point, overrides: None, prepare=lambda typed: separate(typed)[0])
    assert pipeline.main(["ppo.algo.lr=1e-4", "seed=5", "--cfg", "job"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 5


def test_a_merge_of_stages_names_them_in_one_list() -> None:
    config = composed("parallel=2")
    parents = {"models.0": "one", "models.1": "two", "merge.init": "one"}
    mean = StageConfig(verb="merge", overrides=["merge.weights=[2,1]"], parents=parents)
    config.stages = dict.fromkeys(("one", "two"), StageConfig(overrides=["algo=pretrain"])) | {"mean": mean}
    wanted = plan(config, ["seed=3"], ["mean.merge.method=slerp"])
    done = {"one": Path("/runs/1"), "two": Path("/runs/2")}
    assert overrides_of("mean", wanted, config, done) == [
        "merge.weights=[2,1]",
        "models=['/runs/1','/runs/2']",
        "merge.init='/runs/1'",
        "merge.method=slerp",
        "resume=true",
    ]
    assert check(wanted, config) == {"mean"}, "it names its parents, and so may start beside others"
    with pytest.raises(ConfigError, match=r"^stage mean: merge\.init: "):
        check(plan(config, ["seed=3"], []), config)


def of_prepared(*typed: str) -> tuple[PipelineConfig, Plan]:
    """prepare → sft, and a model that answers what was prepared → dpo on both and on a collection."""
    config = composed(*typed)
    answers = ["synthetic.method=responses", "synthetic.endpoint.url=http://h/v1", "synthetic.endpoint.model=m"]
    config.stages = {
        "clean": StageConfig(verb="prepare", overrides=["data=jsonl", "data.path=mine.jsonl"]),
        "sft": StageConfig(overrides=["algo=sft", "model.init=random"], parents={"data.path": "clean"}),
        "ranked": StageConfig(verb="collect", parents={"model.init": "sft"}),
        "answers": StageConfig(verb="prepare", overrides=answers, parents={"synthetic.path": "ranked"}),
        "more": StageConfig(overrides=["algo=sft"], parents={"data.path": ["clean", "answers"], "model.init": "sft"}),
    }
    return config, plan(config, typed, [])


def test_a_preparation_is_a_stage_whose_folder_later_ones_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    config, wanted = of_prepared(
        "data.max_length=64", "data.seed=5", "seed=3", "strategy=cpu", "logger=csv", "hydra.searchpath=[]"
    )
    done = {name: Path(f"/runs/{name}") for name in wanted.stages}
    lines = {name: overrides_of(name, wanted, config, done) for name in wanted.stages}
    assert lines["clean"] == [
        "data.seed=5", "logger=csv", "hydra.searchpath=[]", "data=jsonl", "data.path=mine.jsonl", "resume=true",
    ], "what a preparation does not have stays with the others"  # fmt: skip
    assert all("hydra.searchpath=[]" in line for line in lines.values()), "options of one's own are every stage's"
    assert "data.path='/runs/clean'" in lines["sft"] and "seed=3" in lines["sft"]
    assert "synthetic.path='/runs/ranked/preferences.jsonl'" in lines["answers"]
    assert "data.path=['/runs/clean','/runs/answers']" in lines["more"]
    config, wanted = of_prepared("data.seed=5")
    assert {"clean", "sft", "more"} <= check(wanted, config), "they name what they read, and so may run side by side"
    # A finished preparation in the place of the stage is known by its card.
    Path("old").mkdir()
    Path("old", "card.json").write_text("{}")
    config.stages["clean"].run = "old"
    wanted = plan(config, [], [])
    assert f"data.path='{tmp_path / 'old'}'" in overrides_of("sft", wanted, config, wanted.given)


def test_a_whole_pipeline_that_prepares_and_trains(program_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasketch", reason="datasketch is of the extra prepare")
    rows = [f'{{"prompt": "What is {n} plus one?", "response": "{n + 1}"}}\n' for n in range(40)]
    Path("mine.jsonl").write_text("".join([*rows, *rows]), encoding="utf-8")
    folder = Path("own", "pipeline")
    folder.mkdir(parents=True)
    tiny = "model.architecture.n_embd=32, model.architecture.n_layer=1, train.batch_size=4, train.max_steps=2"
    stages = f"""# @package _global_
stages:
  clean: {{verb: prepare, overrides: [data.path=mine.jsonl, data.name=clean, duplicates.near=null]}}
  sft:
    overrides: [algo=sft, model=tiny, model.init=random, {tiny}, train.samples=0, callbacks.progress=false]
    parents: {{data.path: clean}}
"""
    (folder / "own.yaml").write_text(stages, encoding="utf-8")
    typed = ["--config-dir", "own", "pipeline=own", "logger=csv"]
    monkeypatch.setattr("sys.argv", ["pipeline.py", *typed])  # where overrides of single stages are looked for
    assert PROGRAMS["pipeline"].main(typed) == 0
    (summary,) = (Summary.read(path.parent) for path in Path("outputs", "sft").rglob("summary.json"))
    (card,) = Path("outputs", "prepare").rglob("card.json")
    assert summary.data_cards[0]["sha256"] == hashlib.sha256(card.read_bytes()).hexdigest() and summary.steps == 2
