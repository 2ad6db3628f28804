"""From a valid configuration to models, rows and a stage's module."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_modules.base import StageModule
from lightning_modules.data import StageData
from rlhf.config import AlgoConfig, TrainConfig
from rlhf.data.cuts import warning
from rlhf.data.records import Kind, Prompt, as_prompts
from rlhf.data.rows import Row, make_rows
from rlhf.data.stream import OptimisationBatches
from rlhf.data.templates.chosen import with_chosen_template
from rlhf.data.templates.template import Template
from rlhf.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from rlhf.data.unknown import check_unknown
from rlhf.errors import ConfigError, DataError
from rlhf.models.parallel.offload import recompute_activations
from rlhf.models.parallel.tensor import check_plan
from rlhf.models.sizes import context_of
from rlhf.progress import ProgressBar
from rlhf.runs import Parent, Run
from verbs.datasets import load_data
from verbs.train.adapters import check_offload
from verbs.train.loaded_parts import LoadedParts

log = logging.getLogger("rlhf")


@dataclass
class StageRows:
    """A stage's rows by split, the held-out prompts that are sampled to look at, and what reading them counted."""

    train: list[Row]
    val: list[Row]
    shown: list[Prompt]
    shown_rows: list[Row]
    counts: dict[str, int] = field(default_factory=dict)


def build_tokenizer(config: TrainConfig, parent: Parent) -> Tokenizer:
    """The parent's tokenizer where it has files of one, else the one that the model names."""
    kind: Any = config.model.tokenizer
    folder = parent.source if parent.dir is not None else None
    if folder is None and kind == "auto":
        folder = config.model.path
        if folder is None:
            raise ConfigError(
                f"model.path: model={config.model.name} has no tokenizer of its own; pass model.path=FOLDER or "
                "model.tokenizer=gpt2"
            )
    return with_chosen_template(load_tokenizer(kind, folder), config.data.chat_template, config.data.template_kwargs)


def prompt_limit(config: TrainConfig) -> int:
    """Tokens that a prompt may have, so that a sampled answer fits after it."""
    return config.data.max_length - config.rollout.max_new_tokens


def read_rows(config: TrainConfig, template: Template, kind: Kind) -> StageRows:
    """Read, split, tokenise; what was cut or dropped is counted.

    Raises:
        DataError: the data can't be read, or nothing is left to train on.
    """
    data = config.data
    limit = prompt_limit(config) if kind == "prompts" else data.max_length
    train_on: Any = data.train_on
    truncate: Any = data.truncate
    with ProgressBar(f"reading {kind}"):
        dataset = load_data(data, kind)
        check_examples(config, kind, len(dataset.train))
        rest: Any = template, limit, data.on_error, train_on, truncate, config.algo.separator()
        train, counts = make_rows(dataset.train, kind, *rest)
        val, val_counts = make_rows(dataset.val, kind, *rest)
    parts = (("examples", dataset.train, train, counts), ("validation examples", dataset.val, val, val_counts))
    for what, records, rows, found in parts:
        for said in (
            warning(found, limit, data.max_length - limit, what),
            check_unknown(records, rows, template.tokenizer, data.max_unknown, what),
        ):
            if said is not None:
                log.warning("%s", said)
    counts = dict(dataset.counts) | {f"train_{k}": v for k, v in counts.items()}
    counts |= {f"val_{k}": v for k, v in val_counts.items()}
    if not train:
        raise DataError(f"data={data.name}: no example is left to train on ({counts}); raise data.max_length?")
    shown = as_prompts(dataset.val)[: config.train.samples]
    shown_rows, _ = make_rows(shown, "prompts", template, max(1, prompt_limit(config)), data.on_error)
    return StageRows(train, val, [shown[row.index] for row in shown_rows], shown_rows, counts)


def check_examples(config: TrainConfig, kind: Kind, found: int) -> None:
    """Refuse a run that would be taken for one on more examples than there are.

    Raises:
        DataError: fewer than `data.train_examples`, of what the algorithm learns from.
    """
    wanted = config.data.train_examples
    if wanted is not None and found < wanted and kind == config.algo.learns_from:
        raise DataError(
            f"data.train_examples: {wanted} is more than the {found} {kind} of the training part; pass {found} or less"
        )


def total_steps(config: TrainConfig, n_rows: int) -> int:
    """`train.max_steps`, or as many as `train.epochs` passes over the rows need.

    Raises:
        ConfigError: neither is given, or warm-up takes up all of the steps.
    """
    per_step = config.algo.rows_a_step(config.train.batch_size)
    if config.train.max_steps is not None:
        return config.train.max_steps
    if config.train.epochs is None:
        raise ConfigError("train.max_steps: null, and train.epochs is null too; give one of them")
    return max(1, -(-int(config.train.epochs * n_rows) // per_step))


def check_context(config: TrainConfig, name: str, hf: Any) -> None:
    """Refuse lengths that the loaded model doesn't read, or not as it reads short ones (`longrope`)."""
    context = context_of(hf)
    if context is not None and config.data.max_length > context:
        raise ConfigError(
            f"data.max_length: {config.data.max_length} is longer than the {name}'s context of {context} tokens; "
            f"pass data.max_length={context} or less"
        )


def build_module(config: TrainConfig, run: Run, template: Template, rows: StageRows) -> tuple[StageModule, StageData]:
    """The stage's module and its data."""
    check_offload(config)
    steps = total_steps(config, len(rows.train))
    batches = OptimisationBatches(len(rows.train), config.algo.rows_a_step(config.train.batch_size), config.seed)
    whole = config.algo.on_policy
    data = StageData(
        rows.train,
        rows.val[: config.train.val_prompts] if whole else rows.val,
        batches.batch,
        config.train.tokens_per_microbatch,
        whole=whole,
        val_every=config.train.val_every,
        val_batches=config.train.val_batches,
    )
    asked = {"train": used_rows(rows.train, batches.batch, steps), "val": data.val}
    parts = LoadedParts(config, run, template, steps, asked)
    module = module_class(config.algo).build(parts)
    parts.finish(module)
    if config.strategy.tensor_parallel > 1:
        for model in (module.trained() | module.frozen()).values():
            check_plan(model.hf, config.strategy.tensor_parallel)
    for part, model in (module.trained() | module.frozen()).items():
        check_context(config, part, model.hf)
    for trained in module.trained().values():
        hf: Any = trained.hf
        if config.strategy.gradient_checkpointing:
            recompute_activations(hf)
        if config.strategy.compile:
            hf.base_model.compile(dynamic=True)
    return module, data


def module_class(algo: AlgoConfig) -> type[StageModule]:
    """What trains an algorithm.

    Raises:
        ConfigError: its module can't be imported.
    """
    path, _, name = algo.module.partition(":")
    try:
        found: type[StageModule] = getattr(importlib.import_module(path), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"algo: the module of algo={algo.name} can't be imported ({algo.module}: {error})") from error
    return found


def used_rows(rows: Sequence[Row], batches: Callable[[int], Sequence[int]], steps: int) -> list[Row]:
    """The rows that `steps` steps will ask for: a short run should not wait for a reference pass over everything."""
    numbers: set[int] = set()
    for step in range(steps):
        numbers.update(batches(step))
        if len(numbers) == len(rows):
            break
    return [rows[i] for i in sorted(numbers)]
