"""What `prepare.py` needs to know of a source that a language model writes."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlhf.config.endpoint import ServerConfig
from rlhf.config.keys import key

SELF_INSTRUCT, RESPONSES, CRITIQUE_REVISE = METHODS = ("self_instruct", "responses", "critique_revise")
BLACKLIST = (
    "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot",
    "go to", "图片", "图像", "照片", "图表", "地图", "文件",
)  # fmt: skip


@dataclass
class GeneratorConfig(ServerConfig):
    """The language model that writes synthetic records, behind an OpenAI-compatible chat endpoint."""

    model: str | None = key(None, "the model's name, as the server knows it; every record says it")
    temperature: float = key(0.7, "sampling temperature", ge=0, le=2, source="Wang et al. 2023: 0.7 for instructions")
    max_tokens: int = key(
        1024,
        "longest reply; answers that end there are dropped",
        ge=16,
        unit="tokens",
        source="Wang et al. 2023: 1024 for instructions",
    )
    prompts: str | None = key(
        None,
        "folder of instructions.txt, or of critique.txt and revise.txt; null: those in "
        "rlhf/data/preparation/synthetic/prompts",
    )
    cache: str = key(
        "outputs/.cache/synthetic", "folder of cached replies, by the hash of the request: no call is paid twice"
    )


@dataclass
class SyntheticConfig:
    """A further source, whose records a language model writes; every record says so in its field `synthetic`."""

    method: str = key(
        "none",
        "self_instruct (new instructions after those of path, and answers to them), responses (answers to the prompts "
        "of path), critique_revise (answers that are criticised by a constitution and revised); none: no such source",
        choices=("none", *METHODS),
        source="Wang et al. 2023; Bai et al. 2022",
    )
    path: str | None = key(
        None, "file or folder in any known format: seed instructions, or the prompts that are answered"
    )
    count: int | None = key(
        None,
        "self_instruct: instructions that are kept and answered; responses, critique_revise: prompts drawn from path, "
        "null: all of them",
        ge=1,
    )
    system: str | None = key(
        None, "a system message in front of each prompt that is answered; it is not in the records; null: none"
    )
    seed_examples: int = key(
        6, "self_instruct: instructions of path that a request shows", ge=1, source="Wang et al. 2023: 6"
    )
    generated_examples: int = key(
        2, "self_instruct: instructions of its own, of those kept, that it shows", ge=0, source="Wang et al. 2023: 2"
    )
    per_request: int = key(8, "self_instruct: new instructions that a request asks for", ge=1, le=64)
    requests_per_round: int = key(
        8, "self_instruct: requests that draw from the same instructions, and can be sent at the same time", ge=1
    )
    max_requests: int | None = key(
        None, "self_instruct: requests for instructions at most; null: four times count / per_request", ge=1
    )
    novelty: float = key(
        0.7,
        "self_instruct: a new instruction goes if its ROUGE-L (F1 of words) with a kept one is this or more",
        gt=0,
        le=1,
        source="Wang et al. 2023: 0.7",
    )
    min_words: int = key(
        4, "self_instruct: shorter instructions go", ge=1, unit="words", source="Wang et al. 2023: more than 3"
    )
    max_words: int = key(
        150, "self_instruct: longer instructions go", ge=1, unit="words", source="Wang et al. 2023: 150"
    )
    blacklist: list[str] = key(
        lambda: list(BLACKLIST),
        "self_instruct: instructions with one of these words go, since a model of texts can't follow them",
        source="Wang et al. 2023, with Chinese added",
    )
    constitution: str | None = key(
        None,
        "critique_revise: file of principles, one per line or as a Markdown list; null: constitution.md beside the "
        "prompts",
    )
    revisions: int = key(1, "critique_revise: critiques and revisions in a row, each by another principle", ge=1, le=16)
    initial: str = key(
        "auto",
        "critique_revise: first answers are those of path (file) or are asked for (endpoint); auto: of path where it "
        "has them",
        choices=("auto", "file", "endpoint"),
    )
    name: str = key("synthetic", "of the source, in the card and in dataset")
    weight: float = key(1.0, "as the weight of a source", gt=0, le=1000)
    licence: str | None = key(None, "what the terms of the model and of path allow; null: unknown")
    seed: int = key(1, "of every draw; draws are functions of it and of the request's number", ge=0, le=2**32 - 1)
    endpoint: GeneratorConfig = field(default_factory=GeneratorConfig)
