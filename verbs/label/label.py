"""The verb: one page for people who judge, an exchange with Label Studio, or one table of how far they agree."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from rlhf.config import Config, LabelConfig, algorithms
from rlhf.config.address import TOKEN
from rlhf.errors import ConfigError, Interrupted, UserError
from rlhf.labelling.arena import Arena
from rlhf.labelling.desk import Desk
from rlhf.labelling.export import COMPARISONS, LABELS, comparisons_of, labels_of, write
from rlhf.labelling.results import SPOT_CHECK, deserved_record, wins_of
from rlhf.labelling.vote_log import FILE, VoteLog, read_votes, standing
from rlhf.runs import Parent
from rlhf.storage.disk import reason_of

EVERY = 5.0
"""Seconds between two exports while people vote."""

log = logging.getLogger("rlhf")


def run_label(config: Config, parents: Mapping[str, Parent]) -> None:
    """Serve the page until Ctrl-C, exchange questions and votes with Label Studio, or report agreement.

    Raises:
        UserError: what is to be judged can't be read, or the page can't be served, or the server can't be used.
    """
    assert isinstance(config, LabelConfig)
    if config.agreement is not None:
        from verbs.label.agreement import report_agreement

        report_agreement(config, parents)
        return
    if config.tool == "label-studio":
        from verbs.label.label_studio import run_label_studio

        run_label_studio(config)
        return
    folder = folder_of(config)
    check_folder(folder)
    desk = desk_of(config, folder, parents)
    try:
        serve_desk(config, desk, folder)
    finally:
        desk.log.close()


def folder_of(config: LabelConfig) -> Path:
    """Where the votes go.

    Raises:
        ConfigError: nothing to judge was named.
    """
    if config.out is not None:
        return Path(config.out)
    if config.run is not None:
        return Path(config.run) / SPOT_CHECK
    if config.path is not None:
        # Files of one name in different folders have different votes.
        name = hashlib.sha256(str(Path(config.path).absolute()).encode()).hexdigest()[:6]
        return Path("outputs") / "label" / f"{Path(config.path).name.split('.')[0] or 'answers'}-{name}"
    if config.arena:
        name = hashlib.sha256(repr(sorted(config.arena.items())).encode()).hexdigest()[:6]
        return Path("outputs") / "label" / f"arena-{name}"
    # Not a rule of the configuration, or --help would need a path too.
    raise ConfigError(
        "path: missing; pass path=FILE (answers to judge), run=RUN (spot check), models.a=RUN models.b=RUN (arena) or "
        "agreement=FILE"
    )


def check_folder(folder: Path) -> None:
    """Raises:
    ConfigError: it holds files that an export would replace and no votes that they could come from.
    """
    if not (folder / FILE).exists():
        for name in (COMPARISONS, LABELS):
            if (folder / name).exists():
                raise ConfigError(f"out: {folder} holds a {name} and no {FILE}, and would lose it; pass another folder")


def desk_of(config: LabelConfig, folder: Path, parents: Mapping[str, Parent]) -> Desk:
    """The questions, and the votes that are there already.

    Raises:
        UserError: see `run_label`.
    """
    if config.arena:
        from verbs.label.arena_models import Contestants

        log.info("loading")
        for parent in parents.values():
            log.info("%s", parent.reason)
        return Arena(Contestants(config, parents), names_of(config.arena), VoteLog(folder), config.seed)
    from verbs.label.reading import checks_in, questions_in

    if config.run is not None:
        questions = checks_in(Path(config.run), config.seed)
    else:
        questions = questions_in(Path(str(config.path)), config.task, config.seed)
    if len(tasks := {question.task for question in questions}) > 1:
        # Two answers here, three there: each question is shown as what it is.
        log.info("the questions are of %d kinds: %s", len(tasks), ", ".join(sorted(tasks)))
    return Desk(questions, VoteLog(folder), config.seed, config.votes_per_question)


def names_of(arena: Mapping[str, str]) -> list[str]:
    """What the two models are called in the votes: what was given, or a and b in front of it where both are equal."""
    given = [arena["a"], arena["b"]]
    return given if given[0] != given[1] else [f"{name}: {value}" for name, value in sorted(arena.items())]


def serve_desk(config: LabelConfig, desk: Desk, folder: Path) -> None:
    """The page, and the export behind it."""
    from verbs.label.server import build_app
    from verbs.web.listening import address_of, listen, serve

    at = listen(config.host, config.port)
    export(config, folder, quiet=True)
    app = build_app(desk, config.language, config.host, token := os.environ.get(TOKEN, ""))
    n = len(desk.questions)
    log.info("%s, %d votes so far, in %s", f"{n} questions" if n else "arena", desk.tally.votes, folder / FILE)
    if token:
        log.info("%s/?token=…  with the value of %s in place of …; Ctrl-C ends", address_of(at), TOKEN)
    else:
        log.info("%s/  Ctrl-C ends", address_of(at))
    stop = threading.Event()
    worker = threading.Thread(target=_export_now_and_then, args=(config, desk, folder, stop), daemon=True)
    worker.start()
    try:
        serve(app, at)
    except KeyboardInterrupt:
        pass  # the usual end
    except Interrupted:
        stop.set()
        worker.join()
        export(config, folder, quiet=True)
        raise
    finally:
        at.close()
    stop.set()
    worker.join()
    export(config, folder)


def _export_now_and_then(config: LabelConfig, desk: Desk, folder: Path, stop: threading.Event) -> None:
    """Keep the training data up to date while people vote; a crash loses none of it, since it comes from the log."""
    exported = desk.events
    while not stop.wait(EVERY):
        if desk.events != exported:
            exported = desk.events
            try:
                export(config, folder, quiet=True)
            except UserError as error:
                log.warning("%s", error)


def export(config: LabelConfig, folder: Path, quiet: bool = False) -> None:
    """Write the training data from the log, and say what there is.

    Raises:
        ConfigError: it can't be written.
    """
    lines = list(standing(read_votes(folder / FILE)))
    if config.votes == "each":
        data = comparisons_of(lines), labels_of(lines)
    else:
        from rlhf.labelling.consensus import together  # with torch, which nothing else here needs

        data = together(lines, config.votes)
    try:
        written = write(folder, *data)
    except OSError as error:
        raise ConfigError(f"out: {folder} can't be written: {reason_of(error)}") from error
    if quiet:
        return
    skips = sum(line["event"] == "skip" for line in lines)
    log.info(
        "%d votes and %d skips by %d people", len(lines) - skips, skips, len({line["annotator"] for line in lines})
    )
    for pair, rate in wins_of(lines).items():
        log.info(
            "%s: %.1f%% (95%%: %.1f to %.1f; %d won, %d tied, %d lost)",
            pair.replace(">", " > "),
            *(100 * rate[name] for name in ("rate", "low", "high")),
            *(rate[name] for name in ("wins", "ties", "losses")),
        )
    if (found := deserved_record(lines)) is not None:
        log.info(
            "the higher score was deserved in %.1f%% of %d votes (95%%: %.1f to %.1f): python report.py path=%s",
            100 * found["share"],
            found["n"],
            100 * found["low"],
            100 * found["high"],
            config.run,
        )
    for path in written:
        kind = "comparisons" if path.name == COMPARISONS else "labels"
        first, *others = sorted(
            (name for name, cls in algorithms().items() if cls.learns_from == kind),
            key=lambda name: algorithms()[name].exports != "scorer",
        )
        also = f"; also for algo={', '.join(others)}" if others else ""
        log.info("python train.py algo=%s data=jsonl data.path=%s%s", first, path, also)
