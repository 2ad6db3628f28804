"""What people are asked: a prompt, answers, and what is to be said about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from rlhf.data.records import Prompt, Record, prompt_of

TASKS = ("pairs", "ranking", "best", "thumbs", "check", "arena")
"""Which of two is better; all in order; the best one, with a reason; good or bad; whether the higher score is deserved;
which of two models answered better."""
MOST = 9
"""Answers in one question: each has a digit of the keyboard."""


@dataclass(frozen=True)
class Question:
    """One thing to be judged.

    Attributes:
        id: a function of the task, the prompt and the answers: the same question has it in every file and on every day.
        responses: in an order that says nothing of where they come from.
        sources: the model of each answer, where it is known; never shown.
        scores: of each answer, shown by `check`.
    """

    id: str
    task: str
    prompt: Prompt
    responses: tuple[str, ...]
    sources: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


def make_question(
    task: str, prompt: Prompt, answers: Sequence[str], sources: Sequence[str] = (), scores: Sequence[float] = ()
) -> Question:
    """A question with its answers in the order of their hashes: files often have the better one first."""
    places = sorted(range(len(answers)), key=lambda i: _hash(prompt.key, answers[i]))
    texts = tuple(answers[i] for i in places)
    name = _hash(task, prompt.key, *texts)[:16]
    return Question(
        name,
        task,
        prompt,
        texts,
        tuple(sources[i] for i in places) if sources else (),
        tuple(scores[i] for i in places) if scores else (),
    )


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Answers:
    """Answers to one prompt, each once, with what is known of them; see `Question`."""

    prompt: Prompt
    texts: tuple[str, ...]
    sources: tuple[str, ...] = ()


def answers_of(record: Record) -> Answers | None:
    """The different answers of a record, whatever it says of them; `None` where it has none."""
    prompt = prompt_of(record)
    if prompt is None:
        return None
    for names in (("chosen", "rejected"), ("responses",), ("response",)):
        if all(hasattr(record, name) for name in names):
            found = [getattr(record, name) for name in names]
            texts = found[0] if names == ("responses",) else tuple(found)
            return Answers(prompt, tuple(dict.fromkeys(text for text in texts if text.strip())))
    return None


def questions_of(given: Iterable[Answers], task: str, seed: int) -> list[Question]:
    """The questions of a task about these answers, each once.

    `auto` compares two and ranks more. `pairs` of more than two takes them two by two, in an order drawn from the
    seed, each answer once. Of more than `MOST` answers `ranking` and `best` take as many, drawn likewise.
    """
    found: dict[str, Question] = {}
    for answers in given:
        for question in _questions(answers, task, seed):
            found.setdefault(question.id, question)
    return list(found.values())


def _questions(answers: Answers, task: str, seed: int) -> Iterator[Question]:
    named = len(answers.sources) == len(answers.texts)

    def ask(task: str, places: Sequence[int]) -> Question:
        sources = [answers.sources[i] for i in places] if named else ()
        return make_question(task, answers.prompt, [answers.texts[i] for i in places], sources)

    n = len(answers.texts)
    drawn = Random(f"answers {seed} {answers.prompt.key}").sample(range(n), n)
    if task == "thumbs":
        yield from (ask(task, [i]) for i in range(n))
    elif n < 2:
        return
    elif task == "pairs" or (task == "auto" and n == 2):
        yield from (ask("pairs", pair) for pair in zip(drawn[::2], drawn[1::2], strict=False))
    else:
        yield ask("ranking" if task == "auto" else task, drawn[:MOST])


def checks_of(samples: Iterable[Mapping[str, Any]], seed: int) -> list[Question]:
    """Whether the higher of two scores is deserved: of each prompt of a run's `samples.jsonl`, the last answer beside
    an earlier one, drawn from the seed, of another text and another score."""
    by_prompt: dict[str, list[Mapping[str, Any]]] = {}
    for sample in sorted(samples, key=lambda sample: int(sample["step"])):
        if isinstance(sample.get("score"), int | float) and str(sample["response"]).strip():
            by_prompt.setdefault(json.dumps(sample["prompt"]), []).append(sample)
    found: dict[str, Question] = {}
    for key, mine in by_prompt.items():
        last = mine[-1]
        others = [s for s in mine if s["response"] != last["response"] and s["score"] != last["score"]]
        if not others:
            continue
        pair = [Random(f"check {seed} {key}").choice(others), last]
        try:
            prompt = Prompt(tuple((str(role), str(text)) for role, text in last["prompt"]))
        except ValueError:
            continue
        question = make_question(
            "check",
            prompt,
            [str(sample["response"]) for sample in pair],
            [f"step {sample['step']}" for sample in pair],
            [float(sample["score"]) for sample in pair],
        )
        found.setdefault(question.id, question)
    return list(found.values())


def ordered(questions: Sequence[Question], seed: int) -> list[Question]:
    """In the order in which everybody is asked: a function of the seed. The first questions are common to all
    annotators, so that their agreement is known early."""
    return sorted(questions, key=lambda question: _hash("order", str(seed), question.id))


def sides(seed: int, question: Question, annotator: str) -> tuple[int, ...]:
    """Which answer stands at each place, for one annotator: a function of the three, drawn evenly."""
    n = len(question.responses)
    return tuple(Random(f"sides {seed} {question.id} {annotator}").sample(range(n), n))
