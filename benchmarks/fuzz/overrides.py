"""What may be typed: overrides in Hydra's grammar, near and far from it; every hundredth is composed."""

from __future__ import annotations

from random import Random

from omegaconf import OmegaConf

from benchmarks.fuzz.texts import mixed, mutated
from launch.composition.compose import compose_point, hydra_session, options, to_config
from launch.composition.explain import explain
from launch.composition.typed import check_typed
from launch.planner import parsed, points
from rlhf.config import validate
from rlhf.errors import UserError

GOOD = [
    "algo=dpo",
    "algo.lr=1e-4",
    "train.max_steps=100",
    "+experiment=small",
    "data.path=a/b.jsonl",
    "seed=1,2,3",
    "model.lora_targets=[q_proj,v_proj]",
    "~data.path",
    "++x.y=3",
    "hydra.run.dir='a b'",
    "algo.lr=interval(0,1)",
    "seed=range(1,4)",
    "algo.lr=choice(1e-3,1e-4)",
    "data.name=${model.name}",
    "algo@x=sft",
    "logger={wandb:off}",
    "seed=shuffle(range(3))",
    "algo.lr=tag(a,b,1)",
    "train.epochs=null",
    "algo=glob(*)",
]
PARTS = [
    "=",
    ",",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ":",
    "+",
    "++",
    "~",
    "@",
    "$",
    "${",
    "${oc.env:X}",
    "${seed}",
    "'",
    '"',
    "\\",
    ".",
    "..",
    "/",
    "algo",
    "seed",
    "train",
    "range",
    "choice",
    "glob",
    "sort",
    "null",
    "nan",
    "inf",
    "1e999",
    "-1",
    "true",
    "名",
    "*",
    "%",
    "#",
    "9" * 30,
    "[" * 40,
    "((",
    "_target_",
    "hydra",
    "int(1)",
    "extend_list(1)",
]
COMPOSED = 0.01


def one(random: Random) -> str:
    """An input; returns what became of it."""
    typed = [_override(random) for _ in range(random.choice((1, 1, 1, 2, 3)))]
    try:
        read = parsed(typed)
        points([item.input_line or "" for item in read], BASE)
        check_typed(typed, options(), "train")
    except UserError as error:
        assert "\n" not in " ".join(str(error).split()) and str(error).strip()
        return "refused"
    explain(ValueError("?"), typed, options())
    if random.random() < COMPOSED:
        return _compose(typed)
    return "read"


def _override(random: Random) -> str:
    return mixed(random, PARTS, 12) if random.random() < 0.3 else mutated(random, random.choice(GOOD), PARTS)


def _compose(typed: list[str]) -> str:
    with hydra_session():
        try:
            validate(to_config(compose_point(typed)))
        except UserError as error:
            assert str(error).strip()
            return "composed, refused"
    return "composed"


BASE = OmegaConf.create({"hydra": {"sweeper": {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"}}})
