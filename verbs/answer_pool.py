"""The answers that a collection has ranked: new samples of a model, or those of a file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from random import Random

from rlhf.config import CollectConfig, DataConfig
from rlhf.data.assistant.answers import draw_candidates
from rlhf.data.assistant.questions import recognise
from rlhf.data.records import Kind, Prompt, as_prompts
from rlhf.data.rows import Row
from rlhf.data.splits import fraction_of
from rlhf.errors import DataError
from rlhf.labelling.questions import Answers
from rlhf.progress import ProgressBar
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.uniforms import EVALUATE
from verbs.completions import Kept
from verbs.datasets import load_data
from verbs.finished_model import Loaded
from verbs.label.reading import answers_in

BATCHES = 8
"""Batches of `rollout.max_rows` that are sampled before their answers are put on disk."""
MODEL, CANDIDATE = "model", "candidate"
"""Where an answer comes from."""

log = logging.getLogger("rlhf")


def given_answers(config: CollectConfig) -> list[Answers]:
    """Those of `collect.answers`, in an order that says nothing of what the file says about them.

    Raises:
        DataError: a record can't be read, or none has two different answers.
    """
    assert config.collect.answers is not None
    path = Path(config.collect.answers)
    found = [one for one in answers_in(path) if len(one.texts) > 1]
    if not found:
        raise DataError(f"collect.answers: {path} has no record with two different answers to one prompt")
    by_prompt = {one.prompt: one for one in found}
    prompts = asked_about(config, list(by_prompt))
    found = [one for one in found if one.prompt in set(prompts)]
    return [replace(one, texts=tuple(shuffled(config.seed, one.prompt, one.texts)), sources=()) for one in found]


def new_answers(config: CollectConfig, loaded: Loaded, kept: Kept, *, with_candidates: bool) -> list[Answers]:
    """Different answers to each of the data's prompts: samples of the model, with the embedded task's candidates where
    they are wanted; `sources` tells which is which."""
    prompts = asked_about(config, prompts_of(config.data, "comparisons"))
    rows = loaded.rows(prompts, config.data.on_error)
    prompts = [prompts[row.index] for row in rows]
    found = []
    for prompt, sampled in zip(prompts, sample_answers(config, loaded, rows, kept), strict=True):
        texts = shuffled(config.seed, prompt, mix_in(config, prompt, sampled) if with_candidates else sampled)
        found.append(Answers(prompt, tuple(texts), tuple(MODEL if text in sampled else CANDIDATE for text in texts)))
    return found


def written_by_model(answers: Answers) -> list[str]:
    """The answers without the candidates."""
    sources = answers.sources or [MODEL] * len(answers.texts)
    return [text for text, source in zip(answers.texts, sources, strict=True) if source == MODEL]


def asked_about(config: CollectConfig, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts of `collect.part`, `collect.prompts` of them at most."""
    settings = config.collect
    return part_of(prompts, settings.part, settings.parts, config.data.seed)[: settings.prompts]


def prompts_of(data: DataConfig, kind: Kind) -> list[Prompt]:
    """Prompts of the training and validation parts, each once; what is held out for the test stays out."""
    dataset = load_data(data, kind if data.source == "assistant" else "prompts")
    return as_prompts([*dataset.train, *dataset.val])


def part_of(prompts: Sequence[Prompt], part: int, parts: int, seed: int) -> list[Prompt]:
    """The prompts of one of so many parts, which are alike and share none; after the last part comes the first again.

    Which part a prompt is in depends on the prompts and `seed` alone; they stay in their order.
    """
    # Salted: the hash that splits data would put all that is held out for validation into one part.
    dealt = sorted(range(len(prompts)), key=lambda i: fraction_of(f"part\n{prompts[i].key}", seed))
    return [prompts[i] for i in sorted(dealt[(part - 1) % parts :: parts])]


def sample_answers(config: CollectConfig, loaded: Loaded, rows: Sequence[Row], kept: Kept) -> list[list[str]]:
    """Different answers of each prompt: one at each temperature and top-k in turn, doubles and empty ones left out.

    Args:
        kept: answers of an earlier try, which are not sampled again; what is sampled is added at once.
    """
    settings = config.collect
    sampler = loaded.sampler(config.rollout.engine, config.rollout.max_rows)
    answers: list[dict[str, None]] = [{} for _ in rows]
    ways = zip(cycle(settings.temperatures), cycle(settings.top_k), strict=False)
    size = config.rollout.max_rows * BATCHES
    for number, (temperature, top_k) in enumerate(islice(ways, settings.samples)):
        sampling = Sampling(loaded.max_new_tokens, temperature, top_k, config.rollout.top_p)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            texts = kept.find(number, start, len(part))
            if texts is None:
                with ProgressBar(f"answers at temperature {temperature:g}", len(part)) as progress:
                    completions = sampler.sample(
                        [Request(row.index, row.prompt) for row in part],
                        sampling,
                        seed=config.seed,
                        iteration=number,
                        stream=EVALUATE,
                        progress=progress,
                    )
                texts = [loaded.template.parse(completion.tokens) for completion in completions]
                kept.add(number, start, texts)
            for mine, text in zip(answers[start : start + size], texts, strict=True):
                if text.strip():  # readers refuse an answer that is nothing but white space
                    mine[text] = None
        log.info("sampled %d of %d at temperature %g", number + 1, settings.samples, temperature)
    return [list(texts) for texts in answers]


def mix_in(config: CollectConfig, prompt: Prompt, texts: list[str]) -> list[str]:
    """The sampled answers and graded candidates, among them one of a kind that does not suit the question."""
    question = recognise(prompt.text)
    if question is None:
        return texts
    random = Random(f"candidates {config.seed} {prompt.key}")
    return list(dict.fromkeys([*texts, *draw_candidates(question, config.collect.candidates, random)]))


def shuffled(seed: int, prompt: Prompt, texts: Sequence[str]) -> list[str]:
    """The answers in an order that does not depend on where they come from."""
    return Random(f"order {seed} {prompt.key}").sample(texts, len(texts))
