"""Sampling by vLLM (Kwon et al. 2023) in this process: the engine stays, weights are pushed when they have changed."""

from __future__ import annotations

import copy
import hashlib
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from rlhf.models.adapters import merged_weights
from rlhf.models.language import LanguageModel
from rlhf.rollout.sampling import Completion, Progress, Request, Sampling, as_stops


class VLLMSampler:
    """Samples from a copy of a policy that vLLM holds; `sample` has the copy follow the policy.

    The engine is started by the first call. Seeds make a call repeatable on one machine and version of vLLM, but what
    is sampled may depend on what else is in the batch: a resumed run is not bit-identical. Log-probabilities are the
    engine's; PPO recomputes the policy's own.

    Args:
        policy: on one device, not sharded.
        stop_ids: the tokens that end a response, or the only one.
        max_length: tokens of the longest prompt and answer together.
        max_rows: sequences that are decoded at the same time.
        memory: share of a GPU's memory that the engine may take, beside training.
    """

    def __init__(
        self,
        policy: LanguageModel,
        stop_ids: int | Sequence[int],
        max_length: int,
        max_rows: int = 64,
        memory: float = 0.3,
    ) -> None:
        self.policy, self.stop_ids = policy, as_stops(stop_ids)
        self.max_length, self.max_rows, self.memory = max_length, max_rows, memory
        self._engine: Any = None
        self._pushed: tuple[int, ...] = ()

    def sample(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        seed: int,
        iteration: int,
        stream: int = 0,
        progress: Progress | None = None,
    ) -> list[Completion]:
        """Continue every request `sampling.samples_per_prompt` times; see `Sampler`."""
        from vllm import SamplingParams

        if not requests:
            return []
        engine = self.engine()
        prompts, settings, keys = [], [], []
        for number, request in enumerate(requests):
            for sample in range(sampling.samples_per_prompt):
                keys.append((number, sample))
                prompts.append({"prompt_token_ids": list(request.tokens)})
                settings.append(
                    SamplingParams(
                        max_tokens=sampling.max_new_tokens,
                        temperature=sampling.temperature,
                        top_k=sampling.top_k,
                        top_p=sampling.top_p,
                        seed=seed_of(seed, stream, iteration, request.number, sample),
                        stop_token_ids=list(self.stop_ids),
                        detokenize=False,
                        logprobs=0,
                    )
                )
        outputs = engine.generate(prompts, settings, use_tqdm=False)
        found = [
            _completion(number, sample, output.outputs[0], self.stop_ids)
            for (number, sample), output in zip(keys, outputs, strict=True)
        ]
        if progress is not None:
            progress(len(found), len(found))
        return found

    def engine(self) -> Any:
        """vLLM's `LLM`, with the policy's present weights."""
        # Every update in place is counted, so nothing is pushed twice, whatever changed the weights.
        version = tuple(parameter._version for parameter in self.policy.parameters())
        if self._engine is None:
            self._engine = self._start()
        if version != self._pushed:
            # Adapters merged, one layer at a time; tied weights twice, by both names: see `_start`.
            weights = merged_weights(self.policy.hf)
            self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
            # What prompts looked like to the old weights.
            self._engine.reset_prefix_cache()
        self._pushed = version
        return self._engine

    def _start(self) -> Any:
        # The engine in this process, so that weights are handed over as they are; a small cache unless told otherwise.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        from vllm import LLM

        on_cpu = next(self.policy.parameters()).device.type == "cpu"
        extra: dict[str, Any] = {} if on_cpu else {"gpu_memory_utilization": self.memory}
        threads = torch.get_num_threads()
        # Output weights that are tied to the embeddings are packed once on CPU and would stay what they were.
        config = copy.deepcopy(self.policy.hf.config)
        config.tie_word_embeddings, config.architectures = False, [type(self.policy.hf).__name__]
        with tempfile.TemporaryDirectory(prefix="rlhf-vllm-") as folder:
            config.save_pretrained(folder)
            engine = LLM(
                model=folder,
                load_format="dummy",  # the first push brings the weights
                skip_tokenizer_init=True,
                dtype=str(next(self.policy.parameters()).dtype).removeprefix("torch.") if on_cpu else "bfloat16",
                max_model_len=self.max_length,
                max_num_seqs=self.max_rows,
                # Of the distribution that was drawn from: after temperature, top-k and top-p.
                logprobs_mode="processed_logprobs",
                seed=0,
                **extra,
            )
        torch.set_num_threads(threads)  # vLLM sets its own for the whole process
        return engine


def seed_of(seed: int, stream: int, iteration: int, number: int, sample: int) -> int:
    """32 bits that differ between draws that must differ."""
    text = f"{seed} {stream} {iteration} {number} {sample}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _completion(number: int, sample: int, output: Any, stop_ids: tuple[int, ...]) -> Completion:
    tokens = tuple(int(token) for token in output.token_ids)
    logprobs = tuple(float(at[token].logprob) for token, at in zip(tokens, output.logprobs, strict=True))
    return Completion(number, sample, tokens, logprobs, tokens[-1] in stop_ids if tokens else False)
