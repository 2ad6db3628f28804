"""The sampler that a configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.rollout.vllm_sampler import VLLMSampler

if TYPE_CHECKING:
    from rlhf.models.language import LanguageModel
    from rlhf.rollout.sampling import Sampler


def build_sampler(
    engine: str, policy: LanguageModel, stop_ids: Sequence[int], max_length: int, max_rows: int
) -> Sampler:
    """`rollout.engine` on a policy.

    Args:
        stop_ids: the tokens that end a response.
        max_length: tokens of the longest prompt and answer together.
        max_rows: sequences that are decoded at the same time.
    """
    if engine == "vllm":
        return VLLMSampler(policy, stop_ids, max_length, max_rows)
    return TorchSampler(policy, stop_ids, max_rows)
