"""What `label.py` needs to know: a page on which people judge answers, and what their votes say together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlhf.config.address import TOKEN
from rlhf.config.keys import key
from rlhf.config.sections import StrategyConfig
from rlhf.config.sources import SamplingConfig

TASKS = ("auto", "pairs", "ranking", "best", "thumbs")
TOOLS = ("page", "label-studio")
STUDIO_TASKS = ("auto", "pairs", "ranking")
"""Those for which Label Studio has a tag."""
LONGEST_TITLE = 40
"""Characters; Label Studio allows 50 with the task behind them."""


@dataclass
class LabelConfig:
    """Everything that `label.py` needs to know."""

    path: str | None = key(
        None, "answers to judge: any file of comparisons, rankings or answers, or the answers.jsonl of an evaluation"
    )
    run: str | None = key(None, "spot check: a run whose own samples are judged, with their scores")
    models: dict[str, Any] = key(dict, "arena: models.a=RUN models.b=RUN, two hidden models that people talk to")
    agreement: str | None = key(
        None, "no page: how far annotators agree, from a labelling's folder or any file with annotators"
    )
    reward_model: str | None = key(
        None, "with agreement=FILE: its accuracy beside the people's; auto, a run directory or a model folder"
    )
    task: str = key(
        "auto",
        "what is asked about path's answers; auto: compare two, rank more; pairs: two at a time; best: with a reason",
        choices=TASKS,
    )
    votes: str = key(
        "each",
        "comparisons.jsonl has a record for each vote, for what the majority says, or for what all say together, each "
        "annotator weighted by how well they agree with the others",
        choices=("each", "majority", "weighted"),
        source="weighted: Dawid & Skene 1979",
    )
    votes_per_question: int | None = key(None, "annotators who are asked each question; null: all of them", ge=1)
    tool: str = key(
        "page",
        "where people judge: a page of this program's own, or a running Label Studio, which is sent path's questions "
        "and whose annotations become votes; the same command sends and gets only what is new",
        choices=TOOLS,
    )
    url: str | None = key(None, "address of Label Studio, such as http://localhost:8080")
    key_env: str = key(
        "LABEL_STUDIO_API_KEY",
        "name of the environment variable that holds a token of Label Studio, personal or legacy",
        source="the variable that Label Studio's own SDK reads",
    )
    project: str | None = key(
        None, "title of the projects in Label Studio, in front of pairs or ranking; null: the name of the votes' folder"
    )
    out: str | None = key(
        None, "folder of the votes; null: outputs/label/NAME, or spot_check in the run; agreement: only printed"
    )
    host: str = key("127.0.0.1", f"address that the page is served at; one that others reach needs {TOKEN}")
    port: int = key(7860, "of the page; 0: any free one", ge=0, le=65535)
    language: str = key("en", "that the page opens in; it has a switch", choices=("en", "zh"))
    seed: int = key(1, "order, sides, and what the arena's models draw", ge=0, le=2**32 - 1)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    rollout: SamplingConfig = field(default_factory=SamplingConfig)

    @property
    def arena(self) -> dict[str, str]:
        """The models that were given."""
        return {name: str(given) for name, given in self.models.items() if given}
