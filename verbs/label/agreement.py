"""How far annotators agree, as a table: `python label.py agreement=FILE`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Console

from rlhf.config import LabelConfig
from rlhf.data.records import Prompt
from rlhf.errors import ConfigError, DataError
from rlhf.evaluation.agreement import Labels, agreement_of, agreement_record, labels_from, majority_of, share
from rlhf.labelling.annotations import prompt_in, read_annotations
from rlhf.labelling.consensus import disputes, table_of, together
from rlhf.labelling.export import write
from rlhf.labelling.tally import FIRST, SECOND, TIE, items_of
from rlhf.labelling.vote_log import Line
from rlhf.runs import Parent
from rlhf.runs.files import atomic_write_json
from rlhf.storage.disk import reason_of
from rlhf.terminal import plain, table
from verbs.label.label import check_folder

FILE = "agreement.json"
MOST_DISPUTES = 50
SHOWN_DISPUTES = 3

log = logging.getLogger("rlhf")


def report_agreement(config: LabelConfig, parents: Mapping[str, Parent]) -> None:
    """Print it; with `out=FOLDER`, also write `agreement.json` and the votes as training data.

    Raises:
        UserError: there are no votes, or the folder can't be written.
    """
    assert config.agreement is not None
    lines = read_annotations(Path(config.agreement))
    labels = table_of(lines)
    if not labels.items:
        raise DataError(f"agreement: {config.agreement} holds no vote that counts, but skips or votes that were undone")
    record = agreement_record(labels)
    record["disputes"] = disputes(lines, labels, MOST_DISPUTES)
    if "reward_model" in parents:
        record["reward_model"] = beside_people(config, parents["reward_model"], lines, labels)
    show(record)
    smoothing = override(record["noise"], config.votes)
    if smoothing is not None:
        Console().print(plain(smoothing), soft_wrap=True)
    if config.out is not None:
        folder = Path(config.out)
        if not (folder / FILE).exists():  # what stands beside it is an earlier export of this verb
            check_folder(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write_json(folder / FILE, record)
            written = write(folder, *together(lines, config.votes))
        except OSError as error:
            raise ConfigError(f"out: {folder} can't be written: {reason_of(error)}") from error
        log.info("written: %s", ", ".join(str(path) for path in (folder / FILE, *written)))


def override(noise: Mapping[str, float] | None, votes: str) -> str | None:
    """The label noise as what `train.py` takes, for labels as they are exported; `None` where it is not known."""
    if noise is None:
        return None
    name = "label" if votes == "each" else "majority"
    # Half of the labels wrong is no label at all, and the key ends below it.
    value = min(round(noise[name], 3), 0.499)
    of = "each vote" if votes == "each" else "what they say together, if errors are independent"
    return f"label noise of {of}: algo.label_smoothing={value:g}  (cDPO, algo.loss=robust, algo=reward)"


def beside_people(config: LabelConfig, parent: Parent, lines: Sequence[Line], labels: Labels) -> dict[str, Any]:
    """A reward model's agreement with people, in the same measure as theirs with each other.

    Returns:
        `accuracy` on the majority's decided pairs; `with_people`: how often it says what a person said of a pair that
        is no tie; `people`: how often two people do.
    """
    from verbs.finished_model import load_reward_judge

    judge = load_reward_judge("reward_model", parent, config.strategy)
    texts: dict[tuple[Prompt, str], None] = {}
    questions = {line["question"]: line for line in lines if len(line["responses"]) > 1}
    prompts = {name: prompt_in(line) for name, line in questions.items()}
    for name, line in questions.items():
        texts |= dict.fromkeys((prompts[name], text) for text in line["responses"])
    scores = judge.scores([prompt for prompt, _ in texts], [text for _, text in texts])
    score = dict(zip(texts, scores, strict=True))
    said: dict[str, int] = {}
    for name, line in questions.items():
        mine = [score[prompts[name], text] for text in line["responses"]]
        for i, j in combinations(range(len(mine)), 2):
            first, second = mine[i], mine[j]
            if first is not None and second is not None and first != second:
                said[f"{name}:{i}:{j}"] = FIRST if first > second else SECOND
    votes = [(line["annotator"], item, value) for line in lines for item, value in items_of(line)]
    decided = [vote for vote in votes if vote[2] != TIE and vote[1] in said]
    majority = zip(labels.items, majority_of(labels).tolist(), strict=True)
    judged = [(item, value) for item, value in majority if value != TIE and item in said]
    right = sum(said[item] == value for item, value in judged)
    agreeing = sum(said[item] == value for _, item, value in decided)
    return {
        "accuracy": share(right, len(judged)),
        "with_people": share(agreeing, len(decided)),
        "people": agreement_of(labels_from(decided)) if decided else None,
    }


def show(record: Mapping[str, Any]) -> None:
    """The tables."""
    console = Console()
    rows: list[tuple[object, ...]] = [("items", record["items"]), ("of several people", record["several"])]
    rows += [("votes", record["votes"]), ("two people say the same", percent(record["agreement"]))]
    for level, found in record["alpha"].items():
        rows.append(
            (f"Krippendorff's α, {level}", number(found) if record["several"] else "– (nobody judged the same)")
        )
    if (noise := record["noise"]) is not None:
        rows.append(("label noise", f"{noise['label']:.1%} ({noise['low']:.1%} to {noise['high']:.1%})"))
        rows.append(("noise of the majority", f"{noise['majority']:.1%}"))
        rows.append(("label noise by Dawid–Skene", f"{noise['dawid_skene']:.1%}"))
    if (model := record.get("reward_model")) is not None:
        rows.append(("reward model's accuracy on the majority", percent(model["accuracy"])))
        rows.append(("reward model agrees with a person (no ties)", percent(model["with_people"])))
        rows.append(("two people agree (no ties)", percent(model["people"])))
    console.print(table(["agreement", "(95%)"], rows, right=True))
    people = [
        (name, found["votes"], found["ties"], percent(found["with_others"]), rate(found["accuracy"]))
        for name, found in record["annotators"].items()
    ]
    console.print(
        table(["annotator", "votes", "ties", "agrees with others", "accuracy (Dawid–Skene)"], people, right=True)
    )
    if record["pairs"]:
        pairs = [(f"{found['first']}, {found['second']}", percent(found)) for found in record["pairs"]]
        console.print(table(["two annotators", "agree"], pairs, right=True))
    if len(record["over_time"]) > 1:
        times = [(f"votes {found['from'] + 1} to {found['to'] + 1}", percent(found)) for found in record["over_time"]]
        console.print(table(["over time", "agree with others"], times, right=True))
    for dispute in record["disputes"][:SHOWN_DISPUTES]:
        prompt = dispute["prompt"]
        asked = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        rows = [("question", asked), *((f"answer {i}", text) for i, text in enumerate(dispute["answers"], 1))]
        rows.append(("said", ", ".join(f"{name}: {said}" for name, said in dispute["votes"].items())))
        console.print(table(["disagreement", ""], rows, show_lines=True))
    rest = len(record["disputes"]) - SHOWN_DISPUTES
    if rest > 0:
        console.print(f"{rest} more disagreements; out=FOLDER writes up to {MOST_DISPUTES} to {FILE}")


def percent(found: Mapping[str, float] | None) -> str:
    """`81.2% (76.0% to 85.5%, n 250)`."""
    if found is None:
        return "–"
    return f"{found['share']:.1%} ({found['low']:.1%} to {found['high']:.1%}, n {found['n']})"


def rate(share: float | None) -> str:
    """`81.2%`."""
    return "–" if share is None else f"{share:.1%}"


def number(found: Mapping[str, float | None]) -> str:
    """`0.61 (0.55 to 0.67)`."""
    if found["value"] is None:
        return "– (all say the same)"
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
