"""The source that a language model writes: its cost beforehand, its records in a file, and what the card says of it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.config import PrepareConfig
from rlhf.config.rules.synthetic import NEEDS_COMPARISONS
from rlhf.config.verbs.synthetic import CRITIQUE_REVISE, SELF_INSTRUCT, SyntheticConfig
from rlhf.data.files.values import file_sha256
from rlhf.data.preparation.parts import whole
from rlhf.data.preparation.reading import line_of
from rlhf.data.preparation.source import Source, kind_of_source
from rlhf.data.preparation.synthetic import critique, self_instruct
from rlhf.data.preparation.synthetic.critique import CritiqueRevise
from rlhf.data.preparation.synthetic.instructions import Rules
from rlhf.data.preparation.synthetic.responses import Responses, drawn
from rlhf.data.preparation.synthetic.self_instruct import SelfInstruct, seeds_of
from rlhf.data.preparation.synthetic.steps import Made, Method, follow, sha256
from rlhf.data.readers import read
from rlhf.data.records import Demonstration, Kind, Record, as_prompts, place_of, prompt_of
from rlhf.errors import ConfigError, DataError
from rlhf.runs import Run, atomic_write_text
from rlhf.runs.files import writing
from rlhf.storage.prompt_files import read_prompt
from verbs.endpoints.endpoint import check_cost, endpoint_of
from verbs.prepare.asking import Asking

SECTION = "synthetic.endpoint"
FOLDER, RECORDS, ABOUT, FAILED = "synthetic", "records.jsonl", "about.json", "failed.jsonl"
PROMPTS = Path(self_instruct.__file__).parent / "prompts"
ENOUGH = 4
"""Times as many requests for instructions as would do if all of them were kept."""

log = logging.getLogger("rlhf")


@dataclass(frozen=True)
class Synthetic:
    """A source that a model wrote.

    Attributes:
        about: for the card. spent: calls and tokens of this process.
    """

    source: Source
    about: dict[str, Any]
    spent: dict[str, float] = field(default_factory=dict)


def synthetic_source(config: PrepareConfig, run: Run, kind: Kind) -> Synthetic:
    """Have the records written, unless an earlier try has.

    Args:
        kind: of the set that is prepared.

    Raises:
        ConfigError: the cost could be higher than allowed, or a prompt's text can't be used.
        DataError: the seeds can't be read, or nothing came of it.
        EndpointError: the server is gone, or refuses; replies so far are kept.
    """
    chosen, folder = config.synthetic, run.dir / FOLDER
    listed = f"{FOLDER}/{RECORDS}"
    source = Source(
        str(folder / RECORDS), chosen.name, chosen.weight, chosen.licence or "unknown", format="auto", listed=listed
    )
    if (folder / ABOUT).exists():
        return Synthetic(source, json.loads((folder / ABOUT).read_text(encoding="utf-8")))
    with writing(folder):
        folder.mkdir(exist_ok=True)
    method = method_of(config, kind)
    asking = Asking(endpoint_of(SECTION, chosen.endpoint), folder / FAILED)
    made = follow(method.run(), asking.replay)
    estimate = asking.estimate(method.bounds if made is None else [])
    log.info("synthetic: %s by %s at %s: %s", chosen.method, chosen.endpoint.model, chosen.endpoint.url, estimate)
    check_cost(SECTION, chosen.endpoint, estimate, "synthetic.count")
    if made is None:
        asking.endpoint.check()
        made = follow(method.run(), asking.ask)
    assert made is not None
    tell(chosen, made)
    about = about_of(chosen, method, made)
    with writing(folder):
        with whole(folder / RECORDS) as stream:
            stream.writelines(line_of(record, chosen.name) for record in made.records)
        atomic_write_text(folder / ABOUT, json.dumps(about, ensure_ascii=False, indent=1) + "\n")
    used = asking.endpoint.used
    spent: dict[str, float] = {f"synthetic_{name}": count for name, count in used.record().items()}
    if (cost := asking.endpoint.prices.cost(used.tokens_in, used.tokens_out)) is not None:
        spent["synthetic_cost"] = cost
    return Synthetic(source, about, spent)


def method_of(config: PrepareConfig, kind: Kind) -> Method:
    """The method with what it starts from.

    Raises:
        UserError: that can't be read or used.
    """
    chosen = config.synthetic
    model = str(chosen.endpoint.model)
    if chosen.method == SELF_INSTRUCT:
        seeds = as_prompts(records_of(config, "prompts"))
        text = text_of(chosen, self_instruct.FILE, self_instruct.PLACES, self_instruct.OPTIONAL)
        count = chosen.count or 0
        return SelfInstruct(
            seeds_of(seeds, chosen.max_words),
            text,
            model,
            count,
            Rules(chosen.min_words, chosen.max_words, chosen.blacklist),
            chosen.seed_examples,
            chosen.generated_examples,
            chosen.per_request,
            chosen.max_requests or ENOUGH * math.ceil(count / chosen.per_request),
            chosen.requests_per_round,
            chosen.novelty,
            chosen.system,
            chosen.seed,
        )
    answered = chosen.method == CRITIQUE_REVISE and has_answers(config)
    records = drawn(records_of(config, "demonstrations" if answered else "prompts"), chosen.count, chosen.seed)
    questions = as_prompts(records)
    if chosen.method != CRITIQUE_REVISE:
        return Responses(questions, model, chosen.system)
    texts = {
        critique.CRITIQUE: text_of(chosen, critique.CRITIQUE, critique.CRITIQUE_PLACES),
        critique.REVISE: text_of(chosen, critique.REVISE, critique.REVISE_PLACES),
    }
    return CritiqueRevise(
        questions,
        [record.response for record in records if isinstance(record, Demonstration)] if answered else None,
        texts,
        constitution_of(chosen),
        model,
        chosen.revisions,
        kind in NEEDS_COMPARISONS,
        chosen.system,
        chosen.seed,
    )


def records_of(config: PrepareConfig, kind: Kind) -> list[Record]:
    """What `synthetic.path` holds, each with its place from the file's name on: records are published, and what folders
    this machine has is nobody's business.

    Raises:
        DataError: it can't be read.
    """
    path, on_error = str(config.synthetic.path), config.data.on_error
    records = read(path, kind, on_error, ignore=config.data.ignore).items  # type: ignore[arg-type]
    folder = f"{Path(path).parent}/"
    for record in records:
        prompt = prompt_of(record)
        object.__setattr__(prompt, "place", place_of(record).removeprefix(folder))  # frozen, but not shared yet
    return records


def has_answers(config: PrepareConfig) -> bool:
    """Whether first answers are those of the file.

    Raises:
        DataError: they should be, and it has none.
    """
    chosen = config.synthetic
    if chosen.initial == "endpoint":
        return False
    held = kind_of_source(Source(str(chosen.path), "synthetic.path", ignore=tuple(config.data.ignore)))
    found = held in ("demonstrations", "comparisons", "labels")
    if chosen.initial == "file" and not found:
        raise DataError(f"synthetic.initial: file, but {chosen.path} holds {held} and no answers; pass endpoint")
    return found


def text_of(chosen: SyntheticConfig, name: str, places: tuple[str, ...], optional: tuple[str, ...] = ()) -> str:
    """The text of a prompt.

    Raises:
        ConfigError: it can't be used.
    """
    folder = Path(chosen.endpoint.prompts) if chosen.endpoint.prompts is not None else PROMPTS
    needed = {SELF_INSTRUCT: [self_instruct.FILE]}.get(chosen.method, [critique.CRITIQUE, critique.REVISE])
    return read_prompt(f"{SECTION}.prompts", folder, name, places, needed, optional)


def constitution_of(chosen: SyntheticConfig) -> tuple[str, str]:
    """Its name and its text.

    Raises:
        ConfigError: it can't be read.
    """
    path = Path(chosen.constitution) if chosen.constitution is not None else PROMPTS / critique.CONSTITUTION
    try:
        return path.name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8"
        raise ConfigError(f"synthetic.constitution: {path} can't be read ({reason})") from error


def tell(chosen: SyntheticConfig, made: Made) -> None:
    """What came of every stage, to the log.

    Raises:
        DataError: nothing did.
    """
    said = "; ".join(f"{s}: " + ", ".join(f"{n:,} {w}" for w, n in held.items()) for s, held in made.counts.items())
    said = said.replace("_", " ")
    if not made.records:
        raise DataError(f"synthetic.method: no record came of {chosen.method} ({said})")
    log.info("synthetic: %s", said)
    kept = made.counts.get(self_instruct.INSTRUCTIONS, {}).get("kept")
    if kept is not None and chosen.count is not None and kept < chosen.count:
        log.warning(
            "synthetic.count: %d, and %d instructions were kept after all synthetic.max_requests; the model repeats "
            "itself, or its replies are no numbered lists",
            chosen.count,
            kept,
        )


def about_of(chosen: SyntheticConfig, method: Method, made: Made) -> dict[str, Any]:
    """What the card says of the source; nothing in it depends on which replies were cached."""
    server = chosen.endpoint
    prompts: Mapping[str, str] = method.prompts
    return {
        "name": chosen.name,
        "method": chosen.method,
        "model": server.model,
        "url": server.url,
        "temperature": server.temperature,
        "max_tokens": server.max_tokens,
        **({"extra": json.dumps(server.extra, sort_keys=True)} if server.extra else {}),
        "path": chosen.path,
        "sha256": file_sha256(str(chosen.path)),
        "seed": chosen.seed,
        "prompts": {name: sha256(text) for name, text in prompts.items()},
        "counts": made.counts,
    }
