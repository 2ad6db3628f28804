"""Why a record is removed for what it says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.data.preparation.removal.language import Languages
from rlhf.data.preparation.removal.phrases import boilerplate_in, is_refusal
from rlhf.data.preparation.texts import Texts


@dataclass(frozen=True)
class Removal:
    """A reason to count by, and what exactly was found."""

    reason: str
    found: str = ""


@dataclass(frozen=True)
class Lengths:
    """Limits in words; `None`: no limit."""

    fewest: int = 0
    most: int | None = None
    fewest_answer: int = 0
    most_answer: int | None = None

    def removal(self, prompt: int, answers: Sequence[int]) -> Removal | None:
        """Why a record of these lengths goes."""
        whole = prompt + max(answers, default=0)
        if whole < self.fewest:
            return Removal("too_short", f"{whole} words")
        if self.most is not None and whole > self.most:
            return Removal("too_long", f"{whole} words")
        if answers and min(answers) < self.fewest_answer:
            return Removal("answer_too_short", f"{min(answers)} words")
        if answers and self.most_answer is not None and max(answers) > self.most_answer:
            return Removal("answer_too_long", f"{max(answers)} words")
        return None


class Filters:
    """Filters in their order: length, language, regular expressions, refusals, boilerplate.

    Args:
        languages: which of them stay; `None`: all.
        keep, drop: regular expressions, looked for in every text.
    """

    def __init__(
        self,
        lengths: Lengths | None = None,
        languages: Languages | None = None,
        keep: Sequence[str] = (),
        drop: Sequence[str] = (),
        refusals: bool = False,
        boilerplate: bool = False,
    ) -> None:
        self.lengths, self.languages = lengths or Lengths(), languages
        self.keep, self.drop = [re.compile(one) for one in keep], [re.compile(one) for one in drop]
        self.refusals, self.boilerplate = refusals, boilerplate

    def removal(self, texts: Texts, prompt_words: int, answer_words: Sequence[int]) -> Removal | None:
        """Why a record goes; `None`: it stays."""
        found = self.lengths.removal(prompt_words, answer_words)
        if found is not None:
            return found
        if self.languages is not None:
            code = self.languages.of("\n".join([*texts.turns[-1:], *texts.answers]))
            if code and code not in self.languages.wanted:
                return Removal("language", code)
        for pattern in self.keep:
            if not any(map(pattern.search, texts.all)):
                return Removal("keep_matching", pattern.pattern)
        for pattern in self.drop:
            for text in texts.all:
                if (match := pattern.search(text)) is not None:
                    return Removal("drop_matching", match[0][:80])
        if texts.imitated is None:
            return None
        answer = texts.answers[texts.imitated]
        if self.refusals and is_refusal(answer):
            return Removal("refusal")
        if self.boilerplate and (phrase := boilerplate_in(answer)):
            return Removal("boilerplate", phrase)
        return None
