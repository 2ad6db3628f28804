"""The sections that configurations are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.config.keys import key

SAFE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""Names become parts of directories, and Hydra's override grammar breaks on `=`, brackets and spaces."""


@dataclass
class ModelConfig:
    """Which backbone, and where its weights come from."""

    name: str = key("tiny", "name in directories and tables; letters, digits and ._-")
    init: str = key(
        "auto",
        "auto (newest finished run of the stage before, else pretrained, else random), pretrained, random, "
        "a run directory or a model folder",
    )
    path: str | None = key(None, "Hugging Face name or folder of the pretrained weights and tokenizer")
    tokenizer: str = key(
        "auto", "auto (the model's own), gpt2, or tiny (about 1,000 entries)", choices=("auto", "gpt2", "tiny")
    )
    architecture: dict[str, Any] = key(
        dict, "what init=random builds: model_type and sizes, as in the config.json of transformers"
    )
    adapter: str = key(
        "none",
        "none trains every weight; lora: low-rank adapters on frozen weights, merged into the export",
        choices=("none", "lora"),
        source="Hu et al. 2021",
    )
    lora_r: int = key(16, "rank of an adapter", ge=1)
    lora_alpha: float = key(32.0, "an adapter's product is scaled by lora_alpha / lora_r", gt=0)
    lora_targets: list[str] = key(
        lambda: ["all-linear"],
        "layers that get an adapter, by the last parts of their names; all-linear: every linear one of the backbone",
        source="Dettmers et al. 2023",
    )
    quantize: str = key(
        "none",
        "frozen weights in 8 bits (LLM.int8) or 4 bits (NF4), with adapter=lora on a GPU",
        choices=("none", "8bit", "4bit"),
        source="Dettmers et al. 2022, 2023",
    )


@dataclass
class DataConfig:
    """Which examples, and how they are read and split."""

    name: str = key("assistant", "name in directories and tables; letters, digits and ._-")
    source: str = key(
        "assistant",
        "an embedded task (assistant, sums, worked_sums), your own file, or the Hugging Face hub (a path that exists "
        "is read as a file there too)",
        choices=("assistant", "sums", "worked_sums", "file", "hub"),
    )
    path: Any = key(
        None, "file or folder, or with source=hub the data set's name; a list, as in [A,B], is read one after another"
    )
    weights: list[float] = key(
        list,
        "how often the training examples of each path count: 2 is twice an epoch, 0.5 is half of them (drawn by seed); "
        "empty: once",
    )
    format: str = key(
        "auto",
        "record format: one of docs/quickstart.md, or your own importer; auto detects it from the fields",
    )
    ignore: list[str] = key(list, "record fields to ignore")
    fields: dict[str, str] = key(
        dict,
        "record fields that reward functions get, as {ARGUMENT: FIELD}, such as {answer: solution}; every prompt "
        "record must have them",
    )
    split: str = key("train", "split of a hub data set, or of a folder with files that are named after splits")
    subset: str | None = key(None, "configuration of a hub data set, or folder within it; null: its default")
    seed: int = key(1, "what the embedded task contains, and how data is split", ge=0)
    max_length: int = key(512, "prompt and response together; see truncate for longer ones", ge=8, unit="tokens")
    truncate: str = key(
        "prompt",
        "what to cut of an example longer than max_length: prompt (oldest turns first; dropped if the "
        "response alone is too long), response (the end of too long responses goes too), or drop",
        choices=("prompt", "response", "drop"),
    )
    max_unknown: float = key(
        0.05, "share of tokens that the tokenizer knows only as <unk>, above which a run is refused", ge=0, le=1
    )
    chat_template: str | None = key(
        None,
        "how conversations are written: a Jinja file, or the name of one of the tokenizer's chat templates; null: its "
        "default, else ### Human:",
    )
    template_kwargs: dict[str, Any] = key(
        dict, "keyword arguments of the chat template, such as {enable_thinking: false}; exports carry them"
    )
    train_on: str = key(
        "all",
        "assistant turns that a demonstration trains on: all (except those of weight 0), or the last",
        choices=("all", "last"),
    )
    on_error: str = key("stop", "at a bad line: stop, or skip and count it", choices=("stop", "skip"))
    val_fraction: float = key(0.05, "share of prompts held out for validation", ge=0, lt=1)
    test_fraction: float = key(0.05, "share of prompts held out for the final test", ge=0, lt=1)
    val_path: str | None = key(None, "file or folder with the validation set; null: val_fraction of data.path")
    limit: int | None = key(None, "number of examples to read; null: all", ge=1, unit="examples")
    train_examples: int | None = key(
        None,
        "train on so many examples only, drawn by seed, fewer of them among more; what is held out stays the same; "
        "null: all",
        ge=1,
        unit="examples",
    )
    train_responses: int | None = key(
        None,
        "of each ranking to train on, at most so many answers, drawn by seed; 2: single comparisons; null: all",
        ge=2,
        unit="answers",
    )

    @property
    def is_embedded(self) -> bool:
        """Whether the examples are generated from `seed`, without a file."""
        return self.source in ("assistant", "sums", "worked_sums")

    @property
    def paths(self) -> tuple[str, ...]:
        """`path`, one or several."""
        several = self.path if isinstance(self.path, list) else [] if self.path is None else [self.path]
        return tuple(map(str, several))

    @property
    def is_local(self) -> bool:
        """Whether every path is read as a file or folder of this machine."""
        return bool(self.paths) and all(map(self.reads_locally, self.paths))

    def reads_locally(self, path: str) -> bool:
        """Whether a path is read as a file or folder of this machine."""
        return self.source == "file" or (self.source == "hub" and Path(path).exists())


@dataclass
class StrategyConfig:
    """The hardware and layout that a run computes with; never what it computes."""

    accelerator: str = key("auto", "auto takes a GPU where there is one", choices=("auto", "cpu", "gpu"))
    devices: int | str = key("auto", "processes per node; auto: every GPU, or one CPU process", ge=1, choices=("auto",))
    nodes: int = key(1, "machines", ge=1)
    layout: str = key(
        "single",
        "single; ddp (copies); fsdp (shards all: ZeRO-3); zero2 (shards gradients and optimiser)",
        choices=("single", "ddp", "fsdp", "zero2"),
    )
    precision: str = key(
        "fp32",
        "fp32; bf16-mixed (autocast); bf16 (bf16 arithmetic, fp32 master weights and moments)",
        choices=("fp32", "bf16-mixed", "bf16"),
    )
    shard_size: int | None = key(
        None, "fsdp, zero2: processes that share one copy of the weights (HSDP); null: all", ge=1, unit="processes"
    )
    tensor_parallel: int = key(
        1,
        "fsdp, zero2: processes that split the layers of a block among them and compute the same rows; 1: none",
        ge=1,
        unit="processes",
        source="Shoeybi et al. 2019",
    )
    cpu_offload: bool = key(
        False, "fsdp, zero2: shards and optimiser state in CPU memory: slower, where the GPU has too little"
    )
    gradient_checkpointing: bool = key(False, "in training, recompute activations: less memory, a third more time")
    activation_offload: bool = key(False, "in training, keep what the backward pass needs in the memory of the host")
    compile: bool = key(False, "in training, torch.compile the backbone")
    threads: int | None = key(None, "CPU threads per process; null: PyTorch's choice", ge=1)


@dataclass
class RolloutConfig:
    """How responses are sampled."""

    engine: str = key("torch", "in process, or vLLM", choices=("torch", "vllm"))
    temperature: float = key(1.0, "0 is greedy", ge=0, le=10, source="Ouyang et al. 2022: 1")
    top_k: int = key(0, "keep the k likeliest tokens; 0: all; refused for PPO", ge=0)
    top_p: float = key(1.0, "keep the likeliest tokens up to this mass; 1: all; refused for PPO", gt=0, le=1)
    max_new_tokens: int = key(128, "longest response", ge=1, unit="tokens")
    max_rows: int = key(64, "responses that are decoded at the same time", ge=1)


@dataclass
class LoopConfig:
    """How long, in what portions, and what is written on the way. A step is one update; in PPO, one iteration."""

    max_steps: int | None = key(None, "number of steps; null: epochs decides", ge=1, unit="steps")
    epochs: float | None = key(1.0, "number of passes over the data; null: max_steps decides", gt=0)
    batch_size: int = key(32, "examples per update; PPO: episodes per iteration", ge=1)
    tokens_per_microbatch: int = key(
        4096, "tokens computed at the same time: changes memory use, not results", ge=16, unit="tokens"
    )
    log_every: int = key(10, "steps between two rows of metrics.csv", ge=1, unit="steps")
    checkpoint_every: int = key(200, "steps between two checkpoints; the last step has one too", ge=1, unit="steps")
    keep_checkpoints: int = key(2, "number of newest checkpoints to keep", ge=1)
    keep_every: int | None = key(
        None, "checkpoints at multiples of this many steps are never deleted; null: none", ge=1, unit="steps"
    )
    keep_best: bool = key(
        False, "write and keep a checkpoint of the best validation (by loss, accuracy, or PPO's total reward)"
    )
    async_checkpoint: str = key(
        "auto",
        "write checkpoints while training continues, from a copy in memory; auto: those of 1 GB and more",
        choices=("auto", "always", "never"),
    )
    max_bad_steps: int = key(
        3,
        "an update whose loss or gradient is not finite is skipped; the run stops after this many in a row",
        ge=1,
        unit="updates",
    )
    val_every: int | None = key(200, "steps between two validations; null: at the end only", ge=1, unit="steps")
    val_batches: int | None = key(None, "batches per validation; null: all", ge=1)
    val_prompts: int = key(64, "held-out prompts that are sampled per validation (on-policy algorithms)", ge=1)
    samples: int = key(
        8, "held-out prompts whose completions are written to samples.jsonl at each validation; 0: none", ge=0
    )
    stop_at: dict[str, Any] = key(
        dict,
        "limits of metrics at which the run ends early, finished and exported, such as {val/kl: {max: 20}} or "
        "{val/score: {min: 0}}; looked at after each step, those of val/ after each validation",
    )
    objective: list[str] = key(
        list,
        "metrics by which a sweep compares or optimises its runs, such as [val/score,val/kl]; empty: the stage's own "
        "(val/loss; reward, dpo: val/accuracy; ppo: val/total_reward)",
    )


@dataclass
class LoggerConfig:
    """Loggers in addition to `metrics.csv`, which is always written."""

    wandb: str = key(
        "auto",
        "Weights & Biases: auto is online where an API key is set, else offline",
        choices=("off", "offline", "online", "auto"),
    )
    tensorboard: bool = key(False, "training writes TensorBoard event files to the run directory")
    project: str = key("rlhf-lab", "project in Weights & Biases")
    entity: str | None = key(None, "team or user in Weights & Biases; null: your default one")
    tags: list[str] = key(list, "tags of the run in Weights & Biases")
    group: str | None = key(
        None, "group in Weights & Biases; null: WANDB_RUN_GROUP, else one for each sweep and each pipeline"
    )
    artifacts: str = key(
        "card",
        "data sets and models in Weights & Biases, and what each was made from: by hash (card), with files, or not",
        choices=("off", "card", "files"),
    )


@dataclass
class CallbacksConfig:
    """What watches a run and never changes its numbers."""

    progress: bool = key(True, "progress bars with the numbers that matter")
    samples: bool = key(True, "write samples.jsonl at every evaluation")


@dataclass
class ExportConfig:
    """How the trained model is written to `model/` of the run."""

    dtype: str = key(
        "auto",
        "precision of the weights; auto: that of the weights that the run started from, fp32 for new ones; the next "
        "stage starts from the export, so float32 keeps changes that bfloat16 would round away",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
