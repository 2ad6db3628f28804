"""What the browser of samples shows: prompts, and what each contestant answered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from rlhf.evaluation.findings import by_step
from rlhf.reporting.contents import EvaluationData, Material, RunData

MAX_BYTES = 3_000_000
"""Of the samples together, so that the page stays below 5 MB."""
MAX_CONTESTANTS = 8
NUMBERS = ("score", "gold", "reward", "kl", "tokens")

Item = dict[str, Any]
"""`p`: turns; `k`: category; `a`: contestant → `t` text, `f` finished, and numbers by name."""


def browser(material: Material) -> dict[str, Any]:
    """`{"names", "by", "items", "all"}`: `by` are numbers that decide who won, `all` counts what was cut away too."""
    if material.evaluation is not None and material.evaluation.answers:
        items = list(_of_evaluation(material.evaluation))
    elif len(material.runs) == 1:
        items = list(_of_run(material.runs[0]))
    else:
        items = list(_of_runs([run for run in material.runs if run.samples]))
    kept, size = [], 0
    for item in items:
        size += len(json.dumps(item, ensure_ascii=False).encode())
        if size > MAX_BYTES:
            break
        kept.append(item)
    names = list(dict.fromkeys(name for item in kept for name in item["a"]))
    present = {name for item in kept for answer in item["a"].values() for name in answer}
    by = [name for name in ("score", "gold", "reward") if name in present]
    return {"names": names, "by": by, "items": kept, "all": len(items)}


def as_json(content: Any) -> Markup:
    """JSON for a `<script type="application/json">`: nothing in it can end the element or start a comment."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    # Escaped just now; Markup keeps the template from escaping it again.
    return Markup(text)


def _of_evaluation(evaluation: EvaluationData) -> Iterator[Item]:
    for line in evaluation.answers:
        answers = line.get("answers", {})
        verdicts = [answer["verdict"] for answer in answers.values() if isinstance(answer.get("verdict"), dict)]
        kind = line.get("category") or next((v["kind"] for v in verdicts if v.get("kind")), "")
        yield {"p": line.get("prompt", []), "k": str(kind), "a": {name: _answer(a) for name, a in answers.items()}}


def _of_run(run: RunData) -> Iterator[Item]:
    """One run: the first evaluation beside later ones, at most `MAX_CONTESTANTS`."""
    steps = by_step(run.samples)
    if len(steps) > MAX_CONTESTANTS:
        every = (len(steps) - 1) / (MAX_CONTESTANTS - 1)
        wanted = {round(i * every) for i in range(MAX_CONTESTANTS)}
        steps = {step: group for i, (step, group) in enumerate(steps.items()) if i in wanted}
    yield from _items({f"step {step}": group for step, group in steps.items()})


def _of_runs(runs: list[RunData]) -> Iterator[Item]:
    """Several: what the first one started from, and the end of each."""
    if not runs:
        return
    columns = {"start": next(iter(by_step(runs[0].samples).values()))}
    for run in runs:
        columns[run.name] = list(by_step(run.samples).values())[-1]
    yield from _items(columns)


def _items(columns: Mapping[str, list[Any]]) -> Iterator[Item]:
    found: dict[str, Item] = {}
    for name, samples in columns.items():
        for sample in samples:
            key = json.dumps(sample["prompt"])
            item = found.setdefault(key, {"p": sample["prompt"], "k": str(sample.get("kind", "")), "a": {}})
            # In samples.jsonl the reward is called score, since there is no judge in training.
            item["a"][name] = _answer({**sample, "reward": sample.get("score"), "score": None})
    yield from found.values()


def _answer(record: Mapping[str, Any]) -> Item:
    numbers = {name: round(value, 3) for name in NUMBERS if isinstance(value := record.get(name), int | float)}
    finished = {} if record.get("finished", True) else {"f": False}
    return {"t": str(record.get("response", "")), **finished, **numbers}
