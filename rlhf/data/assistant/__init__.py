"""The embedded task: a small bilingual assistant, generated from a seed, with nothing to download."""

from rlhf.data.assistant.generate import corpus, generate

__all__ = ["corpus", "generate"]
