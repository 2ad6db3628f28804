"""Instructions in what a model wrote, and which of them can be used."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.data.preparation.words import words_of

_ITEM = re.compile(r"^[ \t]*(?:[*_#-]+[ \t]*)?\d{1,3}[ \t]*[.):、．）][*_]*(?:[ \t]+(?=\S)|(?=[^\s\d]))", re.MULTILINE)
"""The beginning of a list's item, with what models put around its number; `2.5` begins none."""
_PARAGRAPH = re.compile(r"\n[ \t]*\n")


def one_line(text: str) -> str:
    """Without line breaks, as a list shows it."""
    return " ".join(text.split())


def instructions_in(text: str, cut: bool = False) -> list[str]:
    """The items of a numbered list, each on one line; what stands in front of it and after it is left out.

    Args:
        cut: the text ends in the middle, so its last item can't be used.
    """
    begins = [(found.start(), found.end()) for found in _ITEM.finditer(text)]
    ends = [*(start for start, _ in begins[1:]), len(text)]
    items = [_PARAGRAPH.split(text[begin:end])[0] for (_, begin), end in zip(begins, ends, strict=False)]
    found = [one_line(item).strip("*").strip() for item in (items[:-1] if cut else items)]
    return [item for item in found if item]


@dataclass(frozen=True)
class Rules:
    """Which instructions are dropped, by the rules of Self-Instruct (Wang et al. 2023, §2.2 and its code).

    Attributes:
        min_words, max_words: as `rlhf.data.preparation.words` counts them.
        blacklist: words that an instruction may not have.
    """

    min_words: int = 4
    max_words: int = 150
    blacklist: Sequence[str] = ()

    def fault(self, instruction: str) -> str | None:
        """A short name of what is wrong; `None`: nothing is.

        The paper's code also drops what doesn't begin with an ASCII letter; this doesn't, since it would drop all
        Chinese.
        """
        words = words_of(instruction)
        if len(words) < self.min_words:
            return "too_short"
        if len(words) > self.max_words:
            return "too_long"
        if self._has_blacklisted(instruction):
            return "blacklisted"
        if instruction.lower().startswith("write a program"):
            return "write_a_program"
        if instruction[0] in string.punctuation:
            return "punctuation"
        return None

    def _has_blacklisted(self, instruction: str) -> bool:
        # Between characters of Chinese there are no ends of words.
        patterns = [rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word) for word in self.blacklist]
        return bool(patterns) and re.search("|".join(patterns), instruction, re.IGNORECASE) is not None
