"""Sampling: this lab's sampler against `transformers.generate` and vLLM, on the same random model and prompts.

`python -m benchmarks.rollout --model gpt2 --rows 32 --tokens 64 --prompt 53`
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from omegaconf import OmegaConf

from launch.composition.compose import CONF
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.models.files.loading import load_policy
from rlhf.models.language import LanguageModel
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.rollout.vllm_sampler import VLLMSampler

NEVER = -1
"""An end-of-text that no model draws: every response has all of its tokens, here and there."""


def build(name: str) -> LanguageModel:
    """A random model of the sizes in `conf/model`."""
    content = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    assert isinstance(content, dict)
    model = content.get("model", content)
    return load_policy(None, model["architecture"], load_tokenizer(model["tokenizer"]), seed=0)


def contestants(
    model: LanguageModel, prompts: torch.Tensor, samples: int, new_tokens: int, vllm: VLLMSampler | None = None
) -> dict[str, Callable[[], int]]:
    """Name → a run, which returns how many tokens it drew."""
    sampling = Sampling(new_tokens, samples_per_prompt=samples)
    requests = [Request(i, tuple(prompt)) for i, prompt in enumerate(prompts.tolist())]
    sampler = TorchSampler(model, NEVER, max_rows=len(prompts) * samples)

    def ours() -> int:
        return sum(len(c.tokens) for c in sampler.sample(requests, sampling, seed=0, iteration=0))

    def theirs() -> int:
        model.eval()
        found = model.hf.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            top_k=0,
            max_new_tokens=new_tokens,
            num_return_sequences=samples,
            eos_token_id=None,
            pad_token_id=0,
        )
        return (found.shape[1] - prompts.shape[1]) * len(found)

    found = {"ours": ours, "transformers.generate": theirs}
    return found | ({"vLLM": with_vllm(vllm, requests, sampling)} if vllm is not None else {})


def with_vllm(sampler: VLLMSampler, requests: list[Request], sampling: Sampling) -> Callable[[], int]:
    """vLLM's own loop on the same prompts, its engine started before."""
    from vllm import SamplingParams

    engine = sampler.engine()
    prompts = [{"prompt_token_ids": list(request.tokens)} for request in requests]
    settings = SamplingParams(
        n=sampling.samples_per_prompt, max_tokens=sampling.max_new_tokens, top_k=0, ignore_eos=True, detokenize=False
    )

    def run() -> int:
        engine.reset_prefix_cache()  # the same prompts again would cost it nothing
        return sum(
            len(o.token_ids) for found in engine.generate(prompts, settings, use_tqdm=False) for o in found.outputs
        )

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gpt2", help="gpt2, tiny, …: a file of conf/model")
    parser.add_argument("--rows", type=int, default=32, help="prompts")
    parser.add_argument("--samples", type=int, default=1, help="responses to each prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each response")
    parser.add_argument("--prompt", type=int, default=53, help="tokens of each prompt")
    parser.add_argument("--vllm", action="store_true", help="also vLLM; run it in an environment that has it")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    model = build(options.model)
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.hf.config.get_text_config().vocab_size
    prompts = torch.randint(1, vocabulary, (options.rows, options.prompt), generator=generator)
    vllm = None
    if options.vllm:
        vllm = VLLMSampler(model, NEVER, options.prompt + options.tokens, options.rows * options.samples)
    threads = torch.get_num_threads()
    for run in contestants(model, prompts[:2], 1, 4, vllm).values():
        run()
    seconds: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        for name, run in contestants(model, prompts, options.samples, options.tokens, vllm).items():
            torch.set_num_threads(threads)
            start = time.perf_counter()
            drawn = run()
            assert drawn == options.rows * options.samples * options.tokens
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    print(f"{options.model}, {torch.get_num_threads()} threads, {drawn} tokens, {options.repeats} interleaved repeats:")
    for name, times in seconds.items():
        pairs = [theirs / ours for ours, theirs in zip(seconds["ours"], times, strict=True)]
        ratio = statistics.median(times) / statistics.median(seconds["ours"])
        if name != "ours":
            print(f"  {ratio:.2f} times as fast as {name} (pairs: {min(pairs):.2f} to {max(pairs):.2f})")
    for name, times in seconds.items():
        print(f"  {name}: {drawn / statistics.median(times):.0f} tokens/s in this run")


if __name__ == "__main__":
    main()
