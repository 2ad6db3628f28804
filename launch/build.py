"""From a valid configuration to models, rows and a stage's module."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch.datasets import load_data
from launch.memory import adapt, check_offload, ppo_models
from launch.trainer import accelerator_of
from lightning_modules.base import StageModule
from lightning_modules.data import StageData
from lightning_modules.dpo import DPOModule
from lightning_modules.ppo import PPOModule
from lightning_modules.reference import Reference, key_of
from lightning_modules.reward import RewardModule
from lightning_modules.sft import PretrainModule, SFTModule
from rlhf.config import PPOConfig, TrainConfig
from rlhf.data.chosen_template import with_chosen_template
from rlhf.data.cuts import warning
from rlhf.data.dataset import load
from rlhf.data.records import Kind, Prompt, as_prompts
from rlhf.data.rows import Row, make_rows
from rlhf.data.stream import OptimisationBatches
from rlhf.data.templates import Template
from rlhf.data.tokenizers import Tokenizer, load_tokenizer
from rlhf.data.unknown import check_unknown
from rlhf.errors import ConfigError, DataError
from rlhf.models.language import LanguageModel
from rlhf.models.loading import load_policy, load_scorer
from rlhf.models.offload import recompute_activations
from rlhf.models.sizes import context_of
from rlhf.models.tensor import check_plan
from rlhf.rollout.engines import build_sampler
from rlhf.runs import Parent, Run

log = logging.getLogger("rlhf")

KINDS: dict[str, Kind] = {
    "pretrain": "documents",
    "sft": "demonstrations",
    "reward": "comparisons",
    "dpo": "comparisons",
    "ppo": "prompts",
}


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
    """Tokens that a prompt may have, so that a sampled answer fits behind it."""
    return config.data.max_length - config.rollout.max_new_tokens


def read_rows(config: TrainConfig, template: Template, kind: Kind) -> StageRows:
    """Read, split, tokenise; what was cut or dropped is counted.

    Raises:
        DataError: the data can't be read, or nothing is left to train on.
    """
    data = config.data
    dataset = load_data(data, kind)
    limit = prompt_limit(config) if kind == "prompts" else data.max_length
    train_on: Any = data.train_on
    truncate: Any = data.truncate
    train, counts = make_rows(dataset.train, kind, template, limit, data.on_error, train_on, truncate)
    val, val_counts = make_rows(dataset.val, kind, template, limit, data.on_error, train_on, truncate)
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


def total_steps(config: TrainConfig, n_rows: int) -> int:
    """`train.max_steps`, or as many as `train.epochs` passes over the rows need.

    Raises:
        ConfigError: neither is given, or warm-up takes up all of the steps.
    """
    per_step = examples_a_step(config)
    if config.train.max_steps is not None:
        return config.train.max_steps
    if config.train.epochs is None:
        raise ConfigError("train.max_steps: null, and train.epochs is null too; give one of them")
    return max(1, -(-int(config.train.epochs * n_rows) // per_step))


def examples_a_step(config: TrainConfig) -> int:
    """Rows of a step: examples, or in PPO the prompts whose samples make up `train.batch_size` episodes."""
    if isinstance(config.algo, PPOConfig):
        return config.train.batch_size // config.algo.samples_per_prompt
    return config.train.batch_size


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
    tokenizer = template.tokenizer
    check_offload(config)
    init = run.parents["model.init"]
    architecture = dict(config.model.architecture)
    steps = total_steps(config, len(rows.train))
    batches = OptimisationBatches(len(rows.train), examples_a_step(config), config.seed)
    options: dict[str, Any] = {"config": config, "total_steps": steps}
    name = config.algo.name
    whole = name == "ppo"
    data = StageData(
        rows.train,
        rows.val[: config.train.val_prompts] if whole else rows.val,
        batches.batch,
        config.train.tokens_per_microbatch,
        whole=whole,
        val_every=config.train.val_every,
        val_batches=config.train.val_batches,
    )
    module: StageModule
    if name == "reward":
        scorer = load_scorer(
            init.source,
            architecture,
            tokenizer,
            seed=config.seed,
            quantize=config.model.quantize,
            end_id=template.end_id,
        )
        adapt(config, scorer.hf, init)
        module = RewardModule(scorer=scorer, **options)
        models = [scorer.hf]
    else:
        shared = isinstance(config.algo, PPOConfig) and config.algo.critic == "shared"
        policy = load_policy(
            init.source, architecture, tokenizer, seed=config.seed, value_head=shared, quantize=config.model.quantize
        )
        models = [policy.hf]
        if name != "ppo":
            adapt(config, policy.hf, init)
        if name == "ppo":
            module, critic = _ppo(run, template, policy, options)
            models += critic
        elif name == "dpo":
            asked = {"train": used_rows(rows.train, batches.batch, steps), "val": data.val}
            key = key_of(init.sha256, init.source, asked, config, accelerator_of(config.strategy)[0])
            known = Reference(asked, key, run.checkpoints / "reference.safetensors")
            module = DPOModule(policy=policy, known=known, **options)
        elif name in ("sft", "pretrain"):
            module = (PretrainModule if name == "pretrain" else SFTModule)(policy=policy, **options)
        else:
            raise ConfigError(f"algo.name: {name} has no module in launch/build.py")
    if config.strategy.tensor_parallel > 1:
        for model in (module.trained() | module.frozen()).values():
            check_plan(model.hf, config.strategy.tensor_parallel)
    for part, model in (module.trained() | module.frozen()).items():
        check_context(config, part, model.hf)
    for hf in models:
        if config.strategy.gradient_checkpointing:
            recompute_activations(hf)
        if config.strategy.compile:
            hf.base_model.compile(dynamic=True)
    return module, data


def used_rows(rows: Sequence[Row], batches: Callable[[int], Sequence[int]], steps: int) -> list[Row]:
    """The rows that `steps` steps will ask for: a short run should not wait for a reference pass over everything."""
    numbers: set[int] = set()
    for step in range(steps):
        numbers.update(batches(step))
        if len(numbers) == len(rows):
            break
    return [rows[i] for i in sorted(numbers)]


def _ppo(run: Run, template: Template, policy: LanguageModel, options: dict[str, Any]) -> tuple[PPOModule, list[Any]]:
    """The stage, and the critic where it is a model of its own."""
    config: TrainConfig = options["config"]
    assert isinstance(config.algo, PPOConfig)
    reference, reward, critic = ppo_models(config, run, template.tokenizer, policy)
    sampler = build_sampler(
        config.rollout.engine, policy, template.stop_ids, config.data.max_length, config.rollout.max_rows
    )
    module = PPOModule(
        policy=policy,
        critic=critic,
        reference=reference,
        reward=reward,
        sampler=sampler,
        ptx=_ptx(config, template),
        **options,
    )
    return module, [critic.hf] if critic is not None else []


def _ptx(config: TrainConfig, template: Template) -> Callable[[int], list[Row]] | None:
    """Rows of the pretraining loss for an update's number: `train.batch_size` documents each."""
    assert isinstance(config.algo, PPOConfig)
    if config.algo.ptx_coef == 0:
        return None
    dataset = load(
        "documents",
        source="file" if config.algo.ptx_path else "assistant",
        path=config.algo.ptx_path,
        format="auto",
        on_error=config.data.on_error,  # type: ignore[arg-type]
        seed=config.data.seed,
        val_fraction=0.0,
        test_fraction=0.0,
    )
    rows, _ = make_rows(dataset.train, "documents", template, config.data.max_length, config.data.on_error)
    batches = OptimisationBatches(len(rows), config.train.batch_size, config.seed)
    return lambda update: [rows[i] for i in batches.batch(update)]
