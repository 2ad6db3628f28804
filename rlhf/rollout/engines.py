"""The sampler that a configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.rollout.vllm_sampler import VLLMSampler

if TYPE_CHECKING:
    from rlhf.models.language import LanguageModel
    from rlhf.rollout.sampling import Sampler


def build_sampler(engine: str, policy: LanguageModel, eos_id: int, max_length: int, max_rows: int) -> Sampler:
    """`rollout.engine` on a policy.

    Args:
        max_length: tokens of the longest prompt and answer together.
        max_rows: sequences that are decoded at the same time.
    """
    if engine == "vllm":
        return VLLMSampler(policy, eos_id, max_length, max_rows)
    return TorchSampler(policy, eos_id, max_rows)
