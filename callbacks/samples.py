"""`samples.jsonl`: what the policy writes for the same held-out prompts at every evaluation, with its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from rlhf.data.records import Prompt
from rlhf.data.rows import Row
from rlhf.data.templates.template import Template
from rlhf.progress import ProgressBar
from rlhf.rollout.sampling import Request, Sampler, Sampling
from rlhf.rollout.uniforms import EVALUATE
from rlhf.runs.files import atomic_write_text, json_line, writing
from rlhf.storage.inside import no_links
from rlhf.storage.reading import read_json_lines
from rlhf.storage.shapes import fits

Judge = Callable[[list[Row]], dict[str, list[float]] | None]
"""Numbers for one-response rows, by name (score, kl)."""


class Samples(L.Callback):
    """Draws one answer a prompt from counter-based randomness of its own, so that training's draws are untouched.

    Args:
        judge: numbers that are written beside each answer.
        keep_tokens: also write the drawn tokens and their log-probability, from which a KL can be had later.
    """

    def __init__(
        self,
        directory: Path,
        prompts: Sequence[Prompt],
        template: Template,
        requests: Sequence[Request],
        sampler: Sampler,
        sampling: Sampling,
        seed: int,
        judge: Judge | None = None,
        keep_tokens: bool = False,
    ) -> None:
        self.path = directory / "samples.jsonl"
        self.prompts, self.template, self.requests = prompts, template, requests
        self.sampler, self.sampling, self.seed, self.judge = sampler, sampling, seed, judge
        self.keep_tokens = keep_tokens

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """After a resume, remove what was written after the step from which the run continues."""
        if trainer.is_global_zero and self.path.exists():
            with writing(self.path):
                rows = [row for row in read_json_lines(self.path) if fits(row.get("step"), int)]
                kept = [row for row in rows if row["step"] <= module.step]
                atomic_write_text(self.path, "".join(json_line(row) for row in kept))

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        with ProgressBar("samples", len(self.requests)) as progress:
            answers = self.sampler.sample(
                self.requests,
                self.sampling,
                seed=self.seed,
                iteration=module.step,
                stream=EVALUATE,
                progress=progress,
            )
        rows = [
            Row(request.tokens, (a.tokens,), index=i, source=self.prompts[i])
            for i, (request, a) in enumerate(zip(self.requests, answers, strict=True))
        ]
        scores = (self.judge(rows) if self.judge is not None else None) or {}
        if not trainer.is_global_zero:
            return
        with writing(self.path), open(self.path, "a", encoding="utf-8", opener=no_links) as stream:
            for i, (prompt, answer) in enumerate(zip(self.prompts, answers, strict=True)):
                record: dict[str, Any] = {
                    "step": module.step,
                    "prompt": [list(turn) for turn in prompt.turns],
                    "response": self.template.parse(answer.tokens),
                    "finished": answer.finished,
                    "tokens": len(answer.tokens),
                } | {name: round(values[i], 4) for name, values in scores.items() if values[i] == values[i]}
                if self.keep_tokens:
                    record |= {"logprob": round(sum(answer.logprobs), 6), "ids": list(answer.tokens)}
                stream.write(json_line(record))
