"""The embedded task: a small bilingual assistant and its gold judge, generated from a seed; nothing to download."""

from rlhf.data.assistant.generate import belongs, corpus, generate
from rlhf.data.assistant.judge import Verdict, judge

__all__ = ["Verdict", "belongs", "corpus", "generate", "judge"]
