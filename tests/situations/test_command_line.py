"""Mistakes on the command line: exit code 2, one sentence that names the key, nothing run and nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.app import Program
from rlhf.config import Config
from rlhf.runs import Run

Main = Callable[[str], int]

TRAIN = [
    # Groups
    ("algo=", "algo"),
    ("algo=foo", "algo=foo"),
    ("algo", "algo"),
    ("algo/foo=1", "algo/foo"),
    ("algo=../algo/sft", "algo"),
    ("algo=[sft,dpo]", "algo"),
    ("model=null", "model"),
    ("+algo=dpo", "algo"),
    ("++algo=dpo", "algo"),
    ("~algo", "algo"),
    ("algo@foo=sft", "algo@foo"),
    ("+experiment=foo", "experiment"),
    ("strategy=foo", "strategy"),
    ("hydra/sweeper=../x", "hydra/sweeper"),
    # Grammar
    ("=3", "=3"),
    ("algo:sft", "algo:sft"),
    ("algo..lr=1", "algo..lr"),
    ("algo.lr==1", "algo.lr"),
    ("{algo.lr:1}", "{algo.lr:1}"),
    ("foo(bar)=1", "foo(bar)"),
    ("seed=${", "seed"),
    ("0=1", "0"),
    ("_target_=os.system", "_target_"),
    ("+_target_=os.system", "_target_"),
    ("algo.学=1", "algo.学"),
    ("algo=名", "algo=名"),
    ("seed=choice(1,2)", "seed"),
    # Keys that are left out, and sections in place of keys
    ("~train", "~train"),
    ("~algo.lr", "algo.lr"),
    ("~zzz", "zzz"),
    ("train=3", "train"),
    ("train={max_steps:1,foo:2}", "foo"),
    ("data.seed.x=1", "data.seed"),
    ("resume.x=1", "resume"),
    # Types
    ("algo.lr=", "algo.lr"),
    ("algo.lr=''", "algo.lr"),
    ("algo.lr=[1]", "algo.lr"),
    ("algo.lr={a:1}", "algo.lr"),
    ("algo.lr=1%", "algo.lr"),
    ("seed=1.5", "seed"),
    ("seed=one", "seed"),
    ("train.max_steps=1e9", "train.max_steps"),
    ("logger.tags=foo", "logger.tags"),
    ("model.architecture=3", "model.architecture"),
    # Numbers
    ("algo.lr=nan", "algo.lr"),
    ("algo.lr=inf", "algo.lr"),
    ("algo.lr=0", "algo.lr"),
    ("algo.lr=1e400", "algo.lr"),
    ("seed=-1", "seed"),
    ("seed=99999999999999999999999", "seed"),
    ("train.max_steps=0", "train.max_steps"),
    ("train.max_steps=99999999999999999999999999", "train.max_steps"),
    ("train.epochs=nan", "train.epochs"),
    ("train.batch_size=0", "train.batch_size"),
    ("rollout.temperature=nan", "rollout.temperature"),
    ("rollout.top_p=2", "rollout.top_p"),
    ("strategy.devices=0", "strategy.devices"),
    ("algo=dpo algo.beta=0", "algo.beta"),
    # Files and folders
    ("data.path=good.jsonl", "data.path"),
    ("data=jsonl data.path=", "data.path"),
    ("data=jsonl data.path=emptydir", "emptydir"),
    ("data=jsonl data.path=good.jsonl/x", "data.path"),
    ("data=jsonl data.path=/dev/zero", "data.path"),
    ("data=jsonl data.path=[a]", "data.path"),
    ("data=jsonl data.path=good.jsonl data.name=../x", "data.name"),
    ("data=jsonl data.path=good.jsonl data.name=名", "data.name"),
    ("model=hf model.path=afile", "model.path"),
    ("model=hf model.path=a/b/c", "model.path"),
    ("model=hf model.path=dir", "dir"),
    ("model.init=afile", "model.init"),
    ("model.init=dir", "model.init"),
    ("model.name=..", "model.name"),
    ("algo=ppo algo.reward_model=dir", "algo.reward_model"),
    ("hydra.run.dir=afile", "hydra.run.dir"),
    ("hydra.job.name=a/b", "hydra.job.name"),
    # Names that Weights & Biases refuses
    ("logger.project=", "logger.project"),
    ("logger.project=a/b", "logger.project"),
    ("logger.entity=a#b", "logger.entity"),
    ("logger.tags=['']", "logger.tags"),
    (f"logger.tags=[{'a' * 65}]", "logger.tags"),
    (f"logger.group={'a' * 129}", "logger.group"),
    # Sweeps and flags
    ("-m seed=", "seed"),
    ("-m seed=1,,2", "seed"),
    ("-m algo=sft,foo", "algo=foo"),
    ("-m seed=range(1,3,0)", "--multirun"),
    ("-m seed=range(5,1)", "--multirun"),
    ("-m seed=range(1,1000000000000)", "--multirun"),
    ("-m algo.lr=range(0.0,1e300,1e-9) seed=1,2", "--multirun"),
    ("-m seed=range(1,200) data.seed=range(1,200)", "--multirun"),
    ("--cfg job --package foo", "--package"),
    ("--shell-completion foo", "--shell-completion"),
    ("--config-dir afile", "--config-dir"),
    ("--version=3", "--version"),
]
OTHERS = [
    ("evaluate models.sft=nope", "models.sft"),
    ("evaluate models.sft=afile", "models.sft"),
    ("evaluate +models.x/y=dir", "models.x/y"),
    ("evaluate models.new=dir", "+models.new"),
    ("evaluate models=[dir,dir]", "models"),
    ("evaluate models.sft=dir evaluation.best_of=0", "evaluation.best_of"),
    ("evaluate models.sft=dir evaluation.ensemble=[dir,dir]", "evaluation.ensemble"),
    ("evaluate algo=sft", "algo"),
    ("chat model.init=afile", "model.init"),
    ("chat -m seed=1,2", "--multirun"),
    ("chat rollout.temperature=hot", "rollout.temperature"),
    ("collect collect.samples=0", "collect.samples"),
    ("collect collect.temperatures=[hot]", "collect.temperatures"),
    ("report path=[]", "path"),
    ("plan plan.foo=1", "plan.foo"),
    ("pipeline stages=3", "stages"),
]


@pytest.fixture
def main(program_folder: Path) -> Main:
    """`main("train algo=foo")`, beside some files and folders; nothing may be run."""
    (program_folder / "good.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    (program_folder / "afile").write_text("x")
    for name in ("dir", "emptydir"):
        (program_folder / name).mkdir()

    def stage(config: Config, run: Run, overrides: list[str]) -> float:
        """Train."""
        pytest.fail("it ran")

    def talk(*_: object) -> None:
        """Talk."""
        pytest.fail("it ran")

    def run(line: str) -> int:
        verb, *argv = line.split()
        talks = verb in ("chat", "serve", "report", "plan", "pipeline")
        made = Program(verb, talk=talk) if talks else Program(verb, stage)
        return made.main(argv)

    return run


@pytest.mark.parametrize(
    ("line", "named"),
    [
        # Each is a composition, a third of a second: every other one is enough for every day.
        pytest.param(line, named, marks=[pytest.mark.slow] if number % 2 else [], id=line[:60])
        for number, (line, named) in enumerate([(f"train {line}", named) for line, named in TRAIN] + OTHERS)
    ],
)
def test_a_mistake_ends_in_one_sentence(main: Main, capsys: pytest.CaptureFixture[str], line: str, named: str) -> None:
    assert main(line) == 2
    said = capsys.readouterr().err.strip()
    assert named in said and "\n" not in said and len(said) < 500
    assert sorted(os.listdir()) == ["afile", "dir", "emptydir", "good.jsonl"]
