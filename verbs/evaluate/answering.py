"""Models answer one after another: each is loaded once, sampled, measured, and makes room for the next."""

from __future__ import annotations

import gc
import logging
import time
from dataclasses import dataclass, field

from rlhf.config import EvaluateConfig
from rlhf.data.records import Prompt
from rlhf.data.rows import Row, make_rows
from rlhf.evaluation.answers import Answer, kl_to_reference, sample_answers, seed_of, text_perplexity
from rlhf.models.sizes import context_of
from rlhf.progress import ProgressBar, on_terminal
from rlhf.rollout.sampling import Sampling
from rlhf.runs import Run
from verbs.finished_model import Loaded, lengths_beside, load_model
from verbs.unseen import HeldOut

log = logging.getLogger("rlhf")


@dataclass
class Collected:
    """Results of one model; answers by the number of their prompt, since one too long for it has none.

    Attributes:
        template: fingerprint of how it reads prompts and answers.
        best: samples for best-of-n, of the reference alone.
        reads: longest prompt and answer, tokens.
    """

    template: str
    reads: int
    answers: dict[int, Answer]
    guide: dict[int, Answer]
    best: dict[int, list[Answer]] = field(default_factory=dict)
    kl: float | None = None
    bits_per_byte: float | None = None
    perplexity: float | None = None


def collect_answers(config: EvaluateConfig, run: Run, held: HeldOut, guide: list[Prompt]) -> dict[str, Collected]:
    """Every model's answers, one model in memory at a time; the reference comes last, to read what the others wrote."""
    names = models_of(run)
    reference = reference_of(config, names)
    collected: dict[str, Collected] = {}
    # Without a reward model there is no way to choose among the samples.
    chooses = has_scorer(run) and config.evaluation.best_of > 1
    best = config.evaluation.best_of if chooses else 0
    lengths = dict(zip(names, lengths_beside([run.parents[f"models.{name}"] for name in names]), strict=True))
    with Watch((len(names) + best) * len(held.prompts)) as watch:
        for name in sorted(names, key=lambda name: name == reference):
            watch.start(name)
            parent = run.parents[f"models.{name}"]
            loaded = load_model(parent, config.strategy, config.rollout.max_new_tokens, lengths[name])
            collected[name] = _ask(config, name, loaded, held, guide, watch, best if name == reference else 0)
            if name == reference:
                _measure_kl(config, name, loaded, collected)
            watch.finish(f"{name}: {len(collected[name].answers)} answers")
            del loaded
            gc.collect()
    return {name: collected[name] for name in names}


def _ask(
    config: EvaluateConfig, name: str, loaded: Loaded, held: HeldOut, guide: list[Prompt], watch: Watch, best: int
) -> Collected:
    """One model's answers, `best` samples per prompt for best-of-n, and its bits per byte."""
    sampler = loaded.sampler(config.rollout.engine, config.rollout.max_rows)
    rollout = config.rollout

    def answers(rows: list[Row], purpose: str, samples: int = 1) -> dict[int, list[Answer]]:
        sampling = Sampling(loaded.max_new_tokens, rollout.temperature, rollout.top_k, rollout.top_p, samples)
        seed = seed_of(config.seed, purpose, name)
        progress = None if purpose == "guide" else watch.progress
        found = sample_answers(sampler, loaded.template, rows, sampling, seed, progress)
        return {row.index: mine for row, mine in zip(rows, found, strict=True)}

    rows = loaded.rows(held.prompts, config.data.on_error)
    texts, _ = make_rows(held.texts, held.text_kind, loaded.template, loaded.max_length, config.data.on_error)
    predicted = text_perplexity(loaded.policy, texts, f"bits per byte of {name}")
    return Collected(
        template=loaded.template.fingerprint,
        reads=loaded.max_length,
        answers={i: mine[0] for i, mine in answers(rows, "answers").items()},
        guide={i: mine[0] for i, mine in answers(loaded.rows(guide, "skip"), "guide").items()},
        best=answers(rows, "best of n", best) if best else {},
        bits_per_byte=predicted[0] if predicted is not None else None,
        perplexity=predicted[1] if predicted is not None else None,
    )


def _measure_kl(config: EvaluateConfig, name: str, reference: Loaded, collected: dict[str, Collected]) -> None:
    """k1 of every model's answers; left empty where tokens differ, or were not drawn from the whole distribution."""
    rollout = config.rollout
    if rollout.temperature == 0 or rollout.top_k > 0 or rollout.top_p < 1:
        return
    collected[name].kl = 0.0
    context = context_of(reference.policy.hf)
    for other, theirs in collected.items():
        longest = max((answer.row.length for answer in theirs.answers.values()), default=0)
        readable = theirs.template == reference.template.fingerprint and longest <= (context or longest)
        if other != name and readable:
            theirs.kl = kl_to_reference(list(theirs.answers.values()), reference.policy, rollout.temperature)


def models_of(run: Run) -> list[str]:
    """Names of the models, in the order in which they were given."""
    return [key.removeprefix("models.") for key in run.parents if key.startswith("models.")]


def has_scorer(run: Run) -> bool:
    """Whether a reward model, or an ensemble of them, is there to choose among samples."""
    choosers = ("evaluation.reward_model", "evaluation.ensemble.", "evaluation.proxies.")
    return any(key.startswith(choosers) for key in run.parents)


def reference_of(config: EvaluateConfig, names: list[str]) -> str:
    """The reference, or the first model where it is not among them."""
    wanted = config.evaluation.reference
    return wanted if wanted in names else names[0]


class Watch(ProgressBar):
    """A bar over the answers of all models, titled by the one at work; where stderr is no terminal, a line a model too.

    Args:
        total: answers of all models together.
    """

    def __init__(self, total: int) -> None:
        super().__init__("loading", total)
        self.before, self.began = 0, 0.0

    def start(self, name: str) -> None:
        """A model's turn begins."""
        self.began, self.what = time.monotonic(), f"answers of {name}"

    def progress(self, done: int, total: int) -> None:
        """Show how many samples of the present call are finished."""
        self.done = self.before + done
        if done == total:
            self.before = self.done

    def finish(self, sentence: str) -> None:
        """A model's turn is over."""
        if not on_terminal():
            log.info("%s in %.1f s", sentence, time.monotonic() - self.began)
