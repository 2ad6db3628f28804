"""Sources to training files, step by step, with progress and what it cost."""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console

from rlhf.config import PrepareConfig
from rlhf.config.rules.preparation import check_packages, source_entries
from rlhf.data.files.prepared import cards_of
from rlhf.data.preparation.card import card_of, outcome_of, write_card, write_hits
from rlhf.data.preparation.lines import OWN, record_of
from rlhf.data.preparation.normalise import normaliser
from rlhf.data.preparation.output import SPLITS, mix, write
from rlhf.data.preparation.parts import Parts, remove
from rlhf.data.preparation.reading import Reading
from rlhf.data.preparation.removal import duplicates
from rlhf.data.preparation.removal.filters import Filters, Lengths
from rlhf.data.preparation.removal.language import Languages
from rlhf.data.preparation.removal.overlap import Evaluations
from rlhf.data.preparation.removal.signatures import Signatures
from rlhf.data.preparation.source import RICHEST, Source, common_kind, kind_of_source
from rlhf.data.preparation.texts import texts_of
from rlhf.data.preparation.words import WordNumbers, words_of
from rlhf.data.records import Kind
from rlhf.errors import ConfigError, DataError
from rlhf.progress import ProgressBar
from rlhf.runs import Run
from rlhf.runs.files import writing
from rlhf.terminal import table

PARTS, HITS = "parts", "contamination.jsonl"

log = logging.getLogger("rlhf")


def run_prepare(config: PrepareConfig, run: Run, overrides: list[str]) -> float | None:
    """Prepare, and log it where that is wanted; returns the number of records written.

    Raises:
        UserError: a package is missing, a source can't be read, or nothing is left.
    """
    check_packages(config)
    if config.logger.wandb == "off":
        return float(perform(config, run))
    # Only here: it imports Lightning, and nothing else of a preparation needs torch.
    from tracking.verbs import log_preparation, wandb_run_of

    with wandb_run_of(config, run, "prepare") as wandb_run:
        written = perform(config, run)
        if wandb_run is not None:
            log_preparation(wandb_run, config, run)
    return float(written)


def perform(config: PrepareConfig, run: Run) -> int:
    """All steps; returns the number of records written.

    Raises:
        UserError: a source can't be read, or nothing is left.
    """
    timing: dict[str, float] = {}
    sources = [source_of(entry) for entry in source_entries(config)]
    kind = kind_of(config, sources)
    reading = reading_of(config, kind)
    about, spent = None, {}
    if config.synthetic.method != "none":
        # After everything that could be refused without paying for it.
        from verbs.prepare.synthetic import synthetic_source

        with timed(timing, "synthetic"):
            written = synthetic_source(config, run, kind)
        sources.append(written.source)
        about, spent = written.about, written.spent
    folder = run.dir / PARTS
    with writing(run.dir / PARTS):
        folder.mkdir(exist_ok=True)
        kept = Parts(folder)
        if already := sum(part.about["counts"].get("read", 0) for part in kept.all):
            log.info("continues after %s records", f"{already:,}")
        with timed(timing, "read"), rated("reading", already) as told:
            parts = reading.read(sources, folder, lambda source, read: told(f"{source.name}, ", read))
    with timed(timing, "duplicates"):
        found = duplicates_of(parts, reading, config, kind)
    outcome = outcome_of(parts, found, parts.numbers("contaminated"))
    if not outcome.stays.any():
        raise DataError(f"nothing is left of {parts.records:,} records that passed the filters; see filter, duplicates")
    data = config.data
    with writing(run.dir), timed(timing, "write"):
        weights = [source.weight for source in sources]
        fractions = data.val_fraction, data.test_fraction
        outcome.mixture = mix(parts, outcome.stays, weights, data.seed, *fractions, config.shuffle, kind, data.fields)
        if not len(outcome.mixture.rows["train"]):
            raise DataError("data.val_fraction, data.test_fraction: they leave no record to train on; lower them")
        lines = sum(map(len, outcome.mixture.rows.values())) * (1 + config.parquet)
        with ProgressBar("writing", lines) as progress:
            splits = write(parts, outcome.mixture, run.dir, config.parquet, kind, progress)
        evaluations = reading.evaluations.files if reading.evaluations is not None else []
        if evaluations:
            write_hits(outcome, run.dir / HITS)
        packages = {
            "datasketch": config.duplicates.near is not None,
            "py3langid": bool(config.filter.languages),
            "pyarrow": config.parquet,
        }
        used = [package for package, taken in packages.items() if taken]
        settings = settings_of(config)
        card = card_of(data.name, kind, settings, sources, outcome, splits, evaluations, config.examples, used, about)
        write_card(card, run.dir)
    tell(run, card, timing, spent)
    remove(folder)
    return sum(held["records"] for held in splits.values())


def source_of(entry: Any) -> Source:
    """A source of the configuration as the library has it."""
    return Source(
        entry.path, entry.name, entry.weight, entry.licence, not entry.is_local, entry.format, entry.columns,
        entry.ignore, entry.split, entry.subset, entry.limit,
    )  # fmt: skip


def kind_of(config: PrepareConfig, sources: list[Source]) -> Kind:
    """The kind of records that come out, with a word where a source holds more than that.

    Raises:
        DataError: it is not given, and the sources hold different ones.
    """
    if config.kind == "auto":
        synthetic = config.synthetic
        more: dict[str, Kind] = {synthetic.name: "demonstrations"} if synthetic.method != "none" else {}
        found = common_kind(sources, config.data.fields, more)
        single = len(sources) + len(more) == 1
        log.info("kind: %s, which %s", found, "the source holds" if single else "all sources hold")
        return found
    kind: Kind = config.kind  # type: ignore[assignment]
    for source in sources:
        held = kind_of_source(source, config.data.fields)
        if RICHEST.index(held) < RICHEST.index(kind) and held in ("comparisons", "labels"):
            says = {"demonstrations": "the best answer is imitated", "prompts": "only the questions are kept"}
            log.info("%s holds %s: %s", source.shown, held, says.get(kind, f"read as {kind}"))
    return kind


def reading_of(config: PrepareConfig, kind: Kind) -> Reading:
    """How sources are read.

    Raises:
        ConfigError: `data.fields` names a field that records have themselves, or a language is none.
        DataError: an evaluation file can't be read.
    """
    if taken := OWN & config.data.fields.keys():
        raise ConfigError(f"data.fields: {min(taken)} is a field of the records themselves; choose another name")
    chosen, near, against = config.filter, config.duplicates.near, config.decontamination.against
    numbers = WordNumbers()
    filters = Filters(
        Lengths(chosen.min_words, chosen.max_words, chosen.min_answer_words, chosen.max_answer_words),
        Languages(chosen.languages) if chosen.languages else None,
        chosen.keep_matching,
        chosen.drop_matching,
        chosen.refusals,
        chosen.boilerplate,
    )
    duplicate = config.duplicates
    return Reading(
        kind,
        config.data.fields,
        config.data.on_error,  # type: ignore[arg-type]
        normaliser(config.normalise.unicode, config.normalise.whitespace),
        filters,
        chosen.personal_data,
        tuple(chosen.personal_kinds),
        Signatures(near, duplicate.permutations, duplicate.ngram) if near is not None else None,
        Evaluations(against, config.decontamination.ngram, numbers) if against else None,
        numbers,
        config.data.seed,
        config.examples,
    )


def duplicates_of(parts: Parts, reading: Reading, config: PrepareConfig, kind: Kind) -> duplicates.Found:
    """Which records go because an earlier one says the same."""
    found = duplicates.Found.none(parts.records)
    if config.duplicates.exact:
        duplicates.exact(parts, found)
    signatures = reading.signatures
    if signatures is not None:
        with ProgressBar("near duplicates: bands", signatures.bands) as progress:
            pairs = duplicates.candidates(parts, signatures, found, progress)

        def sets(record: int) -> tuple[str, tuple[np.ndarray, ...]]:
            texts = texts_of(record_of(parts.line(record), kind, reading.fields))  # type: ignore[arg-type]
            numbers = [reading.numbers(words_of(text)) for text in texts.all]
            turns = len(texts.turns)
            return texts.verdict, signatures.parts(np.concatenate(numbers[:turns]), numbers[turns:])

        with ProgressBar("near duplicates: pairs", len(pairs)) as progress:
            duplicates.near(pairs, sets, signatures.threshold, found, progress)
    return found


def settings_of(config: PrepareConfig) -> dict[str, Any]:
    """What the outcome depends on beside the sources."""
    data = config.data
    return {
        "normalise": asdict(config.normalise),
        "filter": asdict(config.filter),
        "duplicates": asdict(config.duplicates),
        "decontamination": asdict(config.decontamination),
        "split": {"seed": data.seed, "validation": data.val_fraction, "test": data.test_fraction},
        "shuffle": config.shuffle,
        "on_error": data.on_error,
    }


@contextmanager
def timed(timing: dict[str, float], step: str) -> Iterator[None]:
    """Note the seconds that the block takes."""
    began = time.monotonic()
    yield
    timing[step] = time.monotonic() - began


@contextmanager
def rated(what: str, before: int) -> Iterator[Callable[[str, int], None]]:
    """Progress of what has no known end: how many, how long, how many a second.

    Args:
        before: how many an earlier try has done.
    """
    began = time.monotonic()
    with ProgressBar(what) as progress:

        def told(label: str, done: int) -> None:
            seconds = max(time.monotonic() - began, 1e-9)
            rate = (done - before) / seconds
            progress.note = f"{label}{done:,} records in {seconds:.0f} s, {rate:,.0f}/s"

        yield told


def tell(run: Run, card: dict[str, Any], timing: dict[str, float], spent: dict[str, float]) -> None:
    """What came out: to the summary, to the log, and as a table.

    Args:
        spent: calls of a model that wrote records, and what they cost.
    """
    read, seconds = card["steps"][0]["left"], sum(timing.values())
    final: dict[str, float] = {"read": read, "kept": card["steps"][-1]["left"]}
    final |= {split: card["splits"].get(split, {}).get("records", 0) for split in SPLITS}
    final |= {f"removed_{s['step']}": s["removed"] for s in card["steps"][1:]}
    final |= {f"seconds_{step}": round(taken, 3) for step, taken in timing.items()} | spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    run.save(final=final, steps=read, peak_memory_bytes=peak, data_cards=cards_of([str(run.dir)]))
    rows: list[tuple[object, object]] = [(f"{s['left']:,}", f"{s['step']} (−{s['removed']:,})") for s in card["steps"]]
    Console().print(table(["left", "after"], rows))
    log.info(
        "%s records in %.0f s (%s), %.1f GB of memory at most",
        f"{read:,}",
        seconds,
        ", ".join(f"{step} {taken:.0f} s" for step, taken in timing.items()),
        peak / 1e9,
    )
    where = os.path.relpath(run.dir)
    log.info("prepared: %s; python train.py data=jsonl data.path=%s data.name=%s", where, where, card["name"])
