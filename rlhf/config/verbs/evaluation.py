"""What `evaluate.py` measures, and which judge it asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlhf.config.endpoint import ServerConfig
from rlhf.config.keys import key
from rlhf.config.scoring import COMBINATIONS


@dataclass
class EndpointConfig(ServerConfig):
    """A judge behind an OpenAI-compatible chat endpoint: a service, or vLLM or llama.cpp on this machine."""

    mode: str = key(
        "both",
        "scores (helpfulness, harmlessness, honesty, 0 to 10), pairs (answers compared, in both orders), or both",
        choices=("both", "scores", "pairs"),
    )
    against: str = key(
        "reference",
        "in pairs: compare every model with the reference, or every two models (all)",
        choices=("reference", "all"),
    )


@dataclass
class EvaluateSettings:
    """What is measured, and by whom."""

    judge: str = key(
        "auto",
        "gold (the embedded task's own), reward (a reward model), ensemble (of them), endpoint (a language model as "
        "judge), none; auto: gold where there is one, else the endpoint, the ensemble or the reward model, else none",
        choices=("auto", "gold", "reward", "ensemble", "endpoint", "none"),
    )
    reward_model: str | None = key(
        "auto",
        "scores answers, picks the best of n; auto: the newest finished reward run of the same tokenizer, if any",
    )
    ensemble: list[str] = key(
        list, "two or more reward models instead of reward_model; their combined scores judge and pick"
    )
    combine: str = key(
        "mean",
        "how the ensemble's scores become one, as with reward.combine: mean, median, min (the lowest score of the "
        "members), variance (mean − combine_coef · variance), deviation (mean − combine_coef · standard deviation)",
        choices=COMBINATIONS,
        source="Coste et al. 2023",
    )
    combine_coef: float = key(
        0.1, "price of disagreement between the members", ge=0, unit="1/score or 1", source="Coste et al. 2023"
    )
    step_combine: str = key(
        "min",
        "how a process reward model's steps become a score: min, product, mean or last, see reward.step_combine",
        choices=("min", "product", "mean", "last"),
        source="Wang et al. 2023",
    )
    reference: str | None = key("sft", "the model from which KL is measured, and whose samples best-of-n chooses from")
    split: str = key(
        "auto",
        "which held-out prompts: val, those that validate training, or test; auto: test where there is one, else val",
        choices=("auto", "val", "test"),
    )
    prompts: int = key(400, "held-out prompts; each model draws one sample per prompt", ge=1)
    best_of: int = key(16, "samples of the reference that best-of-n chooses from; 1: no best-of-n", ge=1)
    proxies: dict[str, Any] = key(
        dict,
        "name: reward model, by which best of 1 to best_of samples of the reference is followed: gold and proxy score "
        "against √KL; +evaluation.proxies.NAME=RUN adds one",
        source="Gao et al. 2022",
    )
    policies: dict[str, Any] = key(
        dict,
        "name: run that learned from its own samples, whose samples.jsonl is followed likewise; one that bears a "
        "proxy's name was trained against it",
        source="Gao et al. 2022",
    )
    rounds: dict[str, Any] = key(
        dict,
        "name of a model: the reward model of its round of training, whose score of the model's answers is followed "
        "over the rounds, with the gold score and KL; +evaluation.rounds.NAME=RUN adds one",
    )
    texts: int = key(200, "held-out documents for bits per byte; 0: not measured", ge=0)
    text: str | None = key(None, "file or folder with documents for bits per byte; null: those of the data")
    reward_bench: str | None = key(
        None, "file with prompt, chosen, rejected and subset, as in RewardBench: accuracy of the reward model by subset"
    )
    harness: list[str] = key(
        list,
        "tasks of lm-evaluation-harness, such as [hellaswag,arc_easy] (pip install -e '.[harness]'); none: not run",
    )
    harness_path: str | None = key(None, "folder with your own tasks (YAML), beside those of the library")
    harness_limit: int | None = key(None, "examples per task; null: all", ge=1)
    harness_fewshot: int | None = key(None, "few-shot examples in front of each; null: as the task says", ge=0)
    harness_batch: int = key(8, "sequences of a task computed at the same time", ge=1)
    guide: bool = key(True, "also show every model's answers to the built-in test prompts, rlhf/data/prompts/guide.txt")
    shown: int = key(8, "prompts whose answers are printed in report.md", ge=0)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
