"""What `prepare.py` needs to know: sources, what is removed and why, and how the rest is mixed and split."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlhf.config.keys import key
from rlhf.config.sections import DataConfig, LoggerConfig
from rlhf.config.verbs.synthetic import SyntheticConfig

KINDS = ("auto", "demonstrations", "comparisons", "prompts", "labels", "steps", "documents")
PERSONAL = ("email", "phone", "card", "iban", "ip")


@dataclass
class NormaliseConfig:
    """How texts are rewritten before anything is asked of them."""

    unicode: str = key("NFC", "Unicode normal form of all texts", choices=("none", "NFC", "NFKC"))
    whitespace: bool = key(
        True, "line ends become \\n, control characters go, and so does white space at both ends of a text"
    )


@dataclass
class FilterConfig:
    """Which records are removed for what they say. A word of Chinese or Japanese is a character."""

    min_words: int = key(0, "prompt and longest answer together have at least so many", ge=0, unit="words")
    max_words: int | None = key(None, "they have at most so many; null: no limit", ge=1, unit="words")
    min_answer_words: int = key(0, "every answer has at least so many", ge=0, unit="words")
    max_answer_words: int | None = key(None, "every answer has at most so many; null: no limit", ge=1, unit="words")
    languages: list[str] = key(
        list,
        "codes such as [en,zh]: records in other languages are removed, found by py3langid (pip install -e "
        "'.[prepare]'); empty: every language stays",
    )
    keep_matching: list[str] = key(list, "regular expressions: a record in which one finds nothing is removed")
    drop_matching: list[str] = key(list, "regular expressions: a record in which one finds something is removed")
    refusals: bool = key(
        False, "remove records whose answer to imitate is a refusal; in data about harmlessness refusals are wanted"
    )
    boilerplate: bool = key(
        False, "remove records whose answer to imitate has phrases of chat services (As an AI language model, …)"
    )
    personal_data: str = key(
        "drop",
        "records with personal data are removed (drop), get [EMAIL] and the like in its place (mask), or stay (keep)",
        choices=("drop", "mask", "keep"),
    )
    personal_kinds: list[str] = key(
        lambda: list(PERSONAL),
        "what is looked for: addresses and numbers by their patterns; no names",
        choices=PERSONAL,
    )


@dataclass
class DuplicatesConfig:
    """Which records are removed because an earlier one says the same."""

    exact: bool = key(True, "remove records that equal an earlier one after normalisation")
    near: float | None = key(
        0.8,
        "remove records whose prompt and answers are each as similar as this to an earlier record's (Jaccard of "
        "n-grams of words), found by MinHash (pip install -e '.[prepare]'); null: none",
        gt=0,
        le=1,
        source="Lee et al. 2022: 0.8",
    )
    ngram: int = key(
        3, "words of an n-gram; of a 50-word text one changed word alters 3 of 48", ge=1, le=64, unit="words"
    )
    permutations: int = key(
        128, "hashes of a MinHash, by which similar records are found", ge=16, le=1024, source="datasketch: 128"
    )


@dataclass
class DecontaminationConfig:
    """Which records are removed because an evaluation asks the same."""

    against: list[str] = key(list, "files or folders of evaluations, in any known format; empty: nothing is compared")
    ngram: int = key(
        13,
        "a record goes that has so many words in a row in common with an item; an item that is shorter must be found "
        "whole, and one of fewer than 6 words as a whole turn",
        ge=6,
        le=64,
        unit="words",
        source="Brown et al. 2020, appendix C",
    )


@dataclass
class PrepareConfig:
    """Everything that `prepare.py` needs to know."""

    sources: list[Any] = key(
        list,
        "files, folders or mappings such as {path: FILE, weight: 2, name: mine, licence: MIT}; further keys of one: "
        "source (file, hub), format, columns (the lab's field: theirs), ignore, split, subset, limit; empty: data.path",
    )
    kind: str = key(
        "auto",
        "what the records become: of a comparison the chosen answer can be imitated; auto: the richest kind that all "
        "sources hold, and a sentence where they differ",
        choices=KINDS,
    )
    data: DataConfig = field(default_factory=lambda: DataConfig(name="jsonl", source="file"))
    normalise: NormaliseConfig = field(default_factory=NormaliseConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    duplicates: DuplicatesConfig = field(default_factory=DuplicatesConfig)
    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    shuffle: bool = key(True, "write each split in a random order by data.seed, sources mixed; false: in their order")
    parquet: bool = key(True, "write each split as Parquet too, to parquet/ beside the JSONL")
    examples: int = key(3, "removed records that the card shows for each reason; 0: none", ge=0, le=100)
    logger: LoggerConfig = field(default_factory=lambda: LoggerConfig(wandb="off"))
    resume: bool = key(False, "continue the same preparation where it stopped; do nothing where it is finished")
