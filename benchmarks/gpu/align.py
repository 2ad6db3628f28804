"""align.sh: SmolLM2-135M aligned with people's comparisons, by SFT, a reward model, PPO and DPO; evaluated. In nine
minutes at most."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import Context, Part, Skipped
from benchmarks.gpu.runner import main
from rlhf.config import algorithms

SELF = "benchmarks.gpu.align"
PARTS = [
    Part("weights", f"{SELF}:weights", 90),
    Part("sft", f"{SELF}:sft", 75),
    Part("reward", f"{SELF}:reward", 90),
    Part("dpo", f"{SELF}:dpo", 90),
    Part("ppo", f"{SELF}:ppo", 210),
    Part("evaluate", f"{SELF}:evaluate", 120),
]

STEPS = {"sft": 50, "reward": 100, "dpo": 100, "ppo": 40}
BUDGETS: dict[str, list[str]] = {
    "sft": ["train.batch_size=32", "algo.lr=2e-5"],
    "reward": ["train.batch_size=16", "algo.lr=1e-5"],
    "dpo": ["train.batch_size=16", "algo.lr=2e-6", "algo.beta=0.1"],
    "ppo": ["train.batch_size=64", "algo.lr=2e-6", "algo.kl_coef=0.05", "algo.epochs=2", "rollout.max_rows=64"],
}
"""About one pass over 1,600 comparisons each, and 2,560 episodes."""
SHOWN = {
    "sft": ("val/loss", "val/bits_per_byte"),
    "reward": ("val/accuracy", "val/accuracy_low", "val/accuracy_high"),
    "dpo": ("val/accuracy", "val/margin"),
    "ppo": ("val/score", "val/kl", "objective/kl", "time/generated_tokens_per_second"),
}


def folder_of(context: Context) -> Path:
    """Where the model is; the small one of a rehearsal has no weights."""
    return context.models / "smollm2"


def weights(context: Context) -> dict[str, Any]:
    """Unpack the 4-bit file."""
    if context.tiny:
        return {"says": "a rehearsal: a random tiny model in the place of SmolLM2"}
    from benchmarks.gpu.smollm2 import unpack

    gguf, folder = context.models / "smollm2.gguf", folder_of(context)
    if not gguf.exists() and not (folder / "model.safetensors").exists():
        raise Skipped(
            f"{gguf} is not there; benchmarks/gpu/pack.sh --smollm2 brings it in pieces, all of which are needed"
        )
    unpack(gguf, folder)
    return {"says": f"{(folder / 'model.safetensors').stat().st_size / 1e6:.0f} MB of fp32 weights from 4 bits"}


def data(context: Context) -> list[str]:
    """Overrides of the data, the same for all verbs, so that none sees another's held-out prompts.

    Raises:
        Skipped: there are none.
    """
    if context.data is None or not any(context.data.glob("*.jsonl*")):
        if context.tiny:
            return ["data=assistant", "data.limit=80"]
        raise Skipped("no comparisons are there; pass --data FOLDER, or pack them with pack.sh --data FILE")
    limit = ["data.limit=80"] if context.tiny else []
    return ["data=hh_rlhf", f"data.path={context.data}", "data.val_fraction=0.05", "data.test_fraction=0.1", *limit]


def common(context: Context) -> list[str]:
    """Overrides of every verb."""
    own = [f"strategy.accelerator={context.accelerator}", "logger=csv"]
    return [*data(context), *own, f"rollout.max_new_tokens={4 if context.tiny else 96}"]


def model(context: Context) -> list[str]:
    if context.tiny:
        return [
            "model=tiny",
            "model.architecture.n_layer=1",
            "model.architecture.n_embd=32",
            "model.architecture.n_head=2",
        ]
    return ["model=smollm2-135m", f"model.path={folder_of(context)}"]


def run_of(context: Context, stage: str) -> Path:
    return context.folder / stage


def stage(context: Context, name: str, parents: list[str]) -> dict[str, Any]:
    """`python train.py`, whose summary is kept; curves go to the results."""
    from benchmarks.gpu.trial import QUIET, train

    if not context.tiny and not (folder_of(context) / "model.safetensors").exists():
        raise Skipped("the weights are not there")
    lines = [
        *(f"algo={name}", *model(context), *common(context), *QUIET, *BUDGETS[name], *parents),
        f"train.max_steps={2 if context.tiny else STEPS[name]}",
        "train.epochs=null",
        "train.val_every=null",
        f"train.val_prompts={4 if context.tiny else 64}",
        "strategy.precision=bf16" if context.device == "cuda" else "strategy.precision=fp32",
        f"data.max_length={128 if context.tiny else 512}",
        # Few sizes for FlexAttention, each of which is compiled for seconds.
        f"train.tokens_per_microbatch={256 if context.tiny else 4096}",
    ]
    if context.tiny:
        lines += ["train.batch_size=4", "train.val_batches=1"]
    if context.tiny and algorithms()[name].on_policy:
        lines += ["algo.samples_per_prompt=1", "algo.minibatches=1"]
    trial = train(lines, run_of(context, name))
    final = json.loads((trial.folder / "summary.json").read_text(encoding="utf-8"))["final"]
    shown = {key: final[key] for key in SHOWN[name] if key in final}
    told = ", ".join(f"{key} {value:.3g}" for key, value in shown.items())
    return {
        "says": f"{told}; {trial.peak / 1e9:.1f} GB",
        "final": final,
        "curve": trial.rows,
        "seconds": trial.seconds,
        "peak_bytes": trial.peak,
    }


def parent(context: Context, name: str) -> Path:
    """A finished stage's run.

    Raises:
        Skipped: it did not finish.
    """
    folder = run_of(context, name)
    if not (folder / "model").is_dir():
        raise Skipped(f"{name} did not finish")
    return folder


def sft(context: Context) -> dict[str, Any]:
    return stage(context, "sft", ["model.init=random" if context.tiny else "model.init=pretrained"])


def reward(context: Context) -> dict[str, Any]:
    return stage(context, "reward", [f"model.init={parent(context, 'sft')}"])


def dpo(context: Context) -> dict[str, Any]:
    return stage(context, "dpo", [f"model.init={parent(context, 'sft')}"])


def ppo(context: Context) -> dict[str, Any]:
    parents = [f"model.init={parent(context, 'sft')}", f"algo.reward_model={parent(context, 'reward')}"]
    return stage(context, "ppo", parents)


def evaluate(context: Context) -> dict[str, Any]:
    """`python evaluate.py` on held-out prompts; the reward model is the judge, so what it likes is what is measured."""
    from launch.programs import evaluate as program

    names = [name for name in ("sft", "dpo", "ppo") if (run_of(context, name) / "model").is_dir()]
    if not names:
        raise Skipped("no model was trained")
    base = [] if context.tiny else [f"models.base={folder_of(context)}"]
    folder = context.folder / "evaluation"
    judge = [f"evaluation.reward_model={parent(context, 'reward')}"]
    code = program.main(
        [
            *(*common(context), *base, *(f"models.{name}={run_of(context, name)}" for name in names), *judge),
            *("evaluation.judge=reward", f"evaluation.prompts={8 if context.tiny else 150}"),
            *(f"evaluation.best_of={2 if context.tiny else 4}", "evaluation.guide=false", "evaluation.texts=0"),
            f"hydra.run.dir={folder}",
        ]
    )
    if code:
        raise RuntimeError(f"evaluate.py ended with {code}: {program.errors[-1:]}")
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    report = folder / "report.md"
    if report.exists():
        (context.out / "align-report.md").write_bytes(report.read_bytes())
    rates = {pair: facts["rate"] for pair, facts in found.get("win_rates", {}).items()}
    return {"says": ", ".join(f"{pair} {rate:.0%}" for pair, rate in rates.items()), "evaluation": found}


if __name__ == "__main__":
    sys.exit(main("align", __doc__ or "", PARTS, deadline=540))
