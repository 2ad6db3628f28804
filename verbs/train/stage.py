"""One training stage from configuration to export."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn

from callbacks.checkpoint import Checkpoint
from callbacks.progress import ProgressBars, pretty
from callbacks.resources import Resources
from callbacks.samples import Samples
from lightning_modules.base import StageModule
from rlhf import progress
from rlhf.config import TrainConfig, plain
from rlhf.config.objective import Value, check_objective, objective_value
from rlhf.config.rules.stopping import check_validated
from rlhf.data.templates.template import Template, template_for
from rlhf.data.tokenizers.tokenizer import Tokenizer
from rlhf.errors import Interrupted, TrainingError
from rlhf.models.adapters import has_adapter
from rlhf.models.files.export import export, export_adapter
from rlhf.models.files.precision import export_dtype, round_weights
from rlhf.models.language import count_parameters
from rlhf.models.parallel.sharding import full_weights
from rlhf.progress import ProgressBar
from rlhf.quiet import quiet_libraries
from rlhf.reporting.sentences import describe
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.runs import Run
from rlhf.runs.checkpoints import newest_whole, other_names, step_of
from rlhf.runs.resolve import OTHER_REFERENCE
from rlhf.storage.weights import weights_sha256
from tracking.alerts import Alerts
from tracking.artifacts import close_open_run, log_lineage
from tracking.metrics import Metrics
from tracking.wandb_tables import WandbTables
from verbs.allocator import keep_freed_memory
from verbs.train.adapters import ADAPTER
from verbs.train.build import StageRows, build_module, build_tokenizer, read_rows
from verbs.train.forgetting import forgetting
from verbs.train.peers import watched
from verbs.train.sample_kl import add_kl, draws_from_policy
from verbs.train.trainer import build_trainer

log = logging.getLogger("rlhf")


def run_stage(config: TrainConfig, run: Run, overrides: list[str]) -> Value:
    """Train, export, summarise; returns the metrics of `train.objective`, for sweepers.

    Raises:
        UserError: the data, parents or machine don't allow it; the run directory says what was reached.
        Interrupted: Ctrl-C, SIGTERM or SIGUSR1, after a checkpoint that `resume=true` continues from.
    """
    log.info("loading")
    progress.enabled = config.callbacks.progress and run.is_main
    quiet_libraries()
    close_open_run()
    if config.strategy.accelerator != "gpu":
        keep_freed_memory()
    for name, parent in run.parents.items():
        log.log(logging.WARNING if parent.warning else logging.INFO, "%s", parent.reason or f"{name}: {parent.source}")
    tokenizer = build_tokenizer(config, run.parents["model.init"])
    template = template_for(tokenizer)
    if template.opened:
        log.warning(
            "the chat template's generation prompt opens %r, which the template does not write into a finished "
            "conversation: every completion should contain its reasoning and close it",
            template.opened,
        )
    rows = read_rows(config, template, config.algo.learns_from)
    log.info("data: %s", ", ".join(f"{name} {n}" for name, n in rows.counts.items() if n))
    module, data = build_module(config, run, template, rows)
    check_validated(config.train.stop_at, len(data.val))
    for name, model in module.trained().items():
        log.info("%s: %s", name, size_of(model))
    resources, alerts = Resources(), Alerts(run.dir, config.algo.name)
    trainer = build_trainer(config, run, [resources, *build_callbacks(config, run, template, rows, module, alerts)])
    module.continue_from = continued_from(run, module)
    try:
        with watched(trainer, run):
            if module.continue_from is None and data.val:
                trainer.validate(module, datamodule=data, verbose=False)
                check_objective(config, module.val_metrics)
            trainer.fit(module, datamodule=data)
    except Interrupted as stop:
        run.save(steps=module.step, **resources.summary(module))
        if run.is_main:
            log.warning("%s", stop)
        raise
    if module.stopped is not None:
        run.save(stopped=module.stopped)
        if run.is_main:
            log.warning("%s", module.stopped)
    back_on_device(module, trainer)
    module.take_average()
    dtype = round_to_export(config, module.exported())
    module.before_export(lambda: read_rows(config, template, "demonstrations").train)
    with ProgressBar("export"):
        write_export(config, run, module, tokenizer, template, dtype)
    if keeps_tokens(config) and trainer.world_size == 1:
        add_kl(
            run.dir,
            rows.shown_rows,
            run.parents.get(OTHER_REFERENCE, run.parents["model.init"]),
            config,
            tokenizer,
            module.device,
        )
    final = {**module.train_metrics, **module.val_metrics}
    if config.algo.answers() and trainer.world_size == 1:
        final |= forgetting(config, module.exported(), run.parents["model.init"], template)
    run.save(
        steps=module.step,
        final={name: round(value, 6) for name, value in final.items()},
        **({"model_sha256": weights_sha256(run.model)} if run.is_main else {}),
        **resources.summary(module),
    )
    report(config, run, module)
    if run.is_main:
        warn(alerts, trainer, final)
    log_lineage(trainer, config, run)
    return objective_value(config, final)


def write_export(
    config: TrainConfig, run: Run, module: StageModule, tokenizer: Tokenizer, template: Template, dtype: torch.dtype
) -> None:
    """Write `model/` of the run, gathered from shards where there are some, and the adapter beside it."""
    model = module.exported()
    weights = full_weights(model)
    if not module.trainer.is_global_zero:
        return
    if has_adapter(model):
        export_adapter(model, run.parents["model.init"].source, run.dir / ADAPTER, state_dict=weights)
    export(
        model,
        tokenizer,
        run.model,
        state_dict=weights,
        facts={"prompt_template": template.fingerprint},
        stop_ids=template.stop_ids,
        dtype=dtype,
    )


def continued_from(run: Run, module: StageModule) -> Path | None:
    """The newest whole checkpoint of a run that continues, noted in its summary; `None`: the run starts.

    Raises:
        TrainingError: there are checkpoints, and none of them can be read.
    """
    if not run.resumed:
        return None
    last, broken = newest_whole(run.dir, module.total_steps)
    for path in other_names(run.dir):
        log.warning("%s is not named as a checkpoint (step-00000012.ckpt) and is left out", path)
    if last is None and broken:
        raise TrainingError(
            f"{run.dir}: none of its {len(broken)} checkpoints can be read ({next(iter(broken.values()))}); "
            "start again in a new directory"
        )
    for path, fault in broken.items():
        log.warning("%s can't be read (%s) and is left out", path, fault)
    if last is not None:
        run.save(resumed_from=step_of(last))
        log.info("continuing after step %d of %d", step_of(last), module.total_steps)
    return last


def back_on_device(module: StageModule, trainer: L.Trainer) -> None:
    """Lightning leaves the weights on the CPU, but for shards. What comes after training reads them: it would take
    minutes there, and processes of several GPUs can't add up what they found."""
    if module.config.strategy.layout in ("single", "ddp"):
        module.to(trainer.strategy.root_device)


def build_callbacks(
    config: TrainConfig, run: Run, template: Template, rows: StageRows, module: StageModule, alerts: Alerts
) -> list[L.Callback]:
    """The checkpoint comes last: what the others write for a step is then on disk before the step is safe."""
    loop = config.train
    found: list[L.Callback] = [Metrics(loop.log_every)]
    if config.callbacks.progress:
        found.append(ProgressBars(config.algo.name, loop.log_every))
    policy = getattr(module, "policy", None)
    if config.callbacks.samples and policy is not None and rows.shown_rows and config.algo.answers():
        rollout = config.rollout
        sampling = Sampling(rollout.max_new_tokens, rollout.temperature, rollout.top_k, rollout.top_p)
        found.append(
            Samples(
                run.dir,
                rows.shown,
                template,
                [Request(i, row.prompt) for i, row in enumerate(rows.shown_rows)],
                TorchSampler(policy, template.stop_ids, rollout.max_rows),
                sampling,
                config.seed,
                module.judge,
                keep_tokens=keeps_tokens(config),
            )
        )
    if config.logger.wandb != "off":
        found.append(WandbTables(run.dir, plain(config)))
    return [*found, alerts, Checkpoint(run.dir, loop)]


def keeps_tokens(config: TrainConfig) -> bool:
    """Whether samples get their KL after training; PPO measures it as it goes, and others have no reference."""
    return config.algo.needs_reference and not config.algo.on_policy and draws_from_policy(config)


def round_to_export(config: TrainConfig, model: Any) -> torch.dtype:
    """The precision in which a model will be written. Its weights are rounded to that first, so that what is measured
    from now on is what others load; adapters aren't, since they are merged in fp32 and rounded then."""
    dtype = export_dtype(model.hf, config.export.dtype)
    if dtype != torch.float32:
        reason = "as the weights it started from" if config.export.dtype == "auto" else "as asked"
        log.info(
            "export: %s, %s; a stage that starts from it loses the changes that this rounds away; export.dtype=float32 "
            "keeps them",
            str(dtype).removeprefix("torch."),
            reason,
        )
        if not has_adapter(model):
            round_weights(model, dtype)
    return dtype


def size_of(model: nn.Module) -> str:
    """Size of a model, and of what is trained of it where that is not all."""
    total, trained = count_parameters(model), count_parameters(model, trained=True)
    part = f", {trained / 1e6:.3g}M of them trained" if trained < total else ""
    return f"{total / 1e6:.1f}M parameters{part}"


def report(config: TrainConfig, run: Run, module: StageModule) -> None:
    """What came out, in two lines."""
    if not run.is_main:
        return
    shown = [name for name in module.headline if name in module.val_metrics]
    numbers = "  ".join(f"{name} {pretty(module.val_metrics[name])}" for name in shown)
    if "val/accuracy_low" in module.val_metrics:
        low, high = (module.val_metrics[f"val/accuracy_{end}"] for end in ("low", "high"))
        numbers += f"  (95%: {pretty(low)} to {pretty(high)})"
    log.info("%s finished at step %d  %s", config.algo.name, module.step, numbers)
    log.info("run: %s", os.path.relpath(run.dir))


def warn(alerts: Alerts, trainer: L.Trainer, final: dict[str, float]) -> None:
    """Report symptoms of the finished run in the terminal, and in W&B those that were not sent yet."""
    findings = alerts.find(final)
    for finding in findings:
        title, reason, knob = describe(finding)
        log.warning("warning: %s. %s %s", title, reason, knob)
    alerts.tell(trainer, findings)
