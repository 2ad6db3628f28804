"""The two models of an arena, asked one question at a time."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator, Mapping

from rlhf.config import LabelConfig
from rlhf.data.records import Prompt
from rlhf.rollout.growing_text import text_of
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.rollout.uniforms import EVALUATE
from rlhf.runs import Parent
from verbs.finished_model import lengths_beside, load_model

log = logging.getLogger("rlhf")


class Contestants:
    """Answers of each of the two; what is drawn is a function of the seed, the model, the annotator and the number of
    the question.

    Raises:
        UserError: one can't be loaded.
    """

    def __init__(self, config: LabelConfig, parents: Mapping[str, Parent]) -> None:
        given = [parents[f"models.{name}"] for name in ("a", "b")]
        rollout = config.rollout
        self.seed = config.seed
        self._models = [
            load_model(parent, config.strategy, rollout.max_new_tokens, lengths)
            for parent, lengths in zip(given, lengths_beside(given), strict=True)
        ]
        self._samplings = [
            Sampling(model.max_new_tokens, rollout.temperature, rollout.top_k, rollout.top_p) for model in self._models
        ]
        # A sampler's cache is one conversation's.
        self._one_at_a_time = threading.Lock()

    def __call__(self, model: int, prompt: Prompt, annotator: str, number: int) -> Iterator[str]:
        """The answer, piece by piece.

        Raises:
            PromptTooLong: the last question doesn't fit, even cut.
        """
        loaded = self._models[model]
        tokens = loaded.template.prompt(prompt, loaded.max_length - loaded.max_new_tokens)
        index = int.from_bytes(hashlib.sha256(annotator.encode()).digest()[:3])
        with self._one_at_a_time:
            sampler = TorchSampler(loaded.policy, loaded.template.stop_ids)
            drawn = sampler.stream(
                Request(index, tokens.ids),
                self._samplings[model],
                seed=self.seed + model,
                iteration=number,
                stream=EVALUATE,
            )
            yield from text_of(drawn, loaded.template)
