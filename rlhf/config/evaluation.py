"""What `evaluate.py` measures, and whom it asks."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        "pairs: every model against the reference, or every two models (all)",
        choices=("reference", "all"),
    )


@dataclass
class EvaluateSettings:
    """What is measured, and by whom."""

    judge: str = key(
        "auto",
        "gold (the embedded task's own), reward (a reward model), ensemble (of them), endpoint (a language model that "
        "reads), none; auto: gold where there is one, else the endpoint, the ensemble or the reward model, else none",
        choices=("auto", "gold", "reward", "ensemble", "endpoint", "none"),
    )
    reward_model: str | None = key(
        "auto",
        "scores answers, picks the best of n; auto: the newest finished reward run of the same tokenizer, if any",
    )
    ensemble: list[str] = key(
        list, "two reward models or more, in the place of reward_model: together they score and pick"
    )
    combine: str = key(
        "mean",
        "how the ensemble's scores become one, as with reward.combine: mean, median, min (the lowest score of the "
        "members), variance (mean − combine_coef · variance), deviation (mean − combine_coef · standard deviation)",
        choices=COMBINATIONS,
        source="Coste et al. 2023",
    )
    combine_coef: float = key(
        0.1, "what disagreement of an ensemble costs", ge=0, unit="1/score or 1", source="Coste et al. 2023"
    )
    reference: str | None = key("sft", "the model from which KL is measured, and whose samples best-of-n chooses from")
    prompts: int = key(400, "held-out prompts, one sample of each model for each", ge=1)
    best_of: int = key(16, "samples of the reference that best-of-n chooses from; 1: no such line", ge=1)
    texts: int = key(200, "held-out documents for bits per byte; 0: not measured", ge=0)
    text: str | None = key(None, "file or folder of such documents; null: those of the data")
    reward_bench: str | None = key(
        None, "file of prompt, chosen, rejected and subset, as RewardBench has it: the reward model by subset"
    )
    harness: list[str] = key(
        list,
        "tasks of lm-evaluation-harness, such as [hellaswag,arc_easy] (pip install -e '.[harness]'); none: not run",
    )
    harness_path: str | None = key(None, "folder of one's own tasks (YAML), beside those that the library has")
    harness_limit: int | None = key(None, "examples of each task; null: all", ge=1)
    harness_fewshot: int | None = key(None, "solved examples before each; null: as the task says", ge=0)
    harness_batch: int = key(8, "sequences that a task has computed at the same time", ge=1)
    guide: bool = key(True, "also show every model's answers to the built-in test prompts, rlhf/data/prompts/guide.txt")
    shown: int = key(8, "prompts whose answers are printed in report.md", ge=0)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
