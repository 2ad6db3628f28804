"""What saves memory or time: the same losses as without it, and what it costs and saves."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.checks.training import overrides
from benchmarks.gpu.parts import Context, Skipped
from benchmarks.gpu.trial import Trial, distance, model_overrides, train, verdict

OPTIONS: dict[str, list[str]] = {
    "plain": [],
    "gradient_checkpointing": ["strategy.gradient_checkpointing=true"],
    "activation_offload": ["strategy.activation_offload=true"],
    "lora": ["model.adapter=lora"],
    "lora, 8 bits": ["model.adapter=lora", "model.quantize=8bit"],
    "lora, 4 bits": ["model.adapter=lora", "model.quantize=4bit"],
    "compile": ["strategy.compile=true"],
}
EXACT = ("gradient_checkpointing", "activation_offload", "compile")
"""They must not change a loss."""
CLOSE = 1e-2
"""Relative distance of a bf16 loss that another order of sums explains."""
STAGE = "dpo"
"""Trees, and a reference pass."""


def compare(context: Context) -> dict[str, Any]:
    """A few updates with each of them; quantised weights are those of the plain run."""
    folder = context.folder / "options"
    found: dict[str, Any] = {}
    wrong = []
    trials: dict[str, Trial] = {}
    for name, own in OPTIONS.items():
        if "8 bits" in name or "4 bits" in name:
            own = [*own, f"model.init={trials['plain'].folder}"]
        try:
            if name == "compile":
                context.need_cuda("compiling, which takes minutes on a CPU,")
            trials[name] = one(context, own, folder / name.replace(" ", "").replace(",", "-"))
        except Skipped as reason:
            found[name] = {"skipped": str(reason)}
        except Exception as error:  # the others still count
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
            wrong.append(name)
        else:
            found[name] = told(trials[name], trials["plain"])
            if name in EXACT and not found[name]["beside_plain"]["most"] <= CLOSE:
                wrong.append(name)
        context.note(name, found[name])
    ran = ", ".join(f"{name} {trial.peak / 1e9:.2f} GB" for name, trial in trials.items())
    skipped = [name for name, facts in found.items() if "skipped" in facts]
    left_out = f"; skipped: {', '.join(skipped)}" if skipped else ""
    return {"says": f"{verdict(wrong)}; {ran}{left_out}", "wrong": wrong, "found": found}


def one(context: Context, own: list[str], folder: Any) -> Trial:
    steps = 2 if context.tiny else 6
    lines = [
        *overrides(context, STAGE, folder, steps),
        *model_overrides(context),
        f"strategy.accelerator={context.accelerator}",
        "strategy.precision=bf16",
        # One large micro-batch, so that activations are what memory goes to.
        "train.tokens_per_microbatch=8192",
        f"train.batch_size={4 if context.tiny else 48}",
    ]
    return train([*lines, *own], folder)


def told(trial: Trial, plain: Trial) -> dict[str, Any]:
    steps = trial.values("train/seconds")
    return {
        "losses": trial.losses,
        "beside_plain": distance(trial.losses, plain.losses),
        "step_seconds": steps[-1] if steps else None,
        "peak_bytes": trial.peak,
    }
