"""Phrases by which refusals and chat services' habits are known, in English and Chinese."""

from __future__ import annotations

import re

OPENING = 300
"""Characters of an answer in which a refusal shows."""

_REFUSALS = re.compile(
    r"\b(?:i\s+(?:can(?:no|'|’)?t|cannot|am\s+(?:not\s+able|unable)\s+to|(?:wo|do)n['’]t|will\s+not|must\s+decline\s+to)"
    r"\s+(?:\w+\s+){0,2}?(?:help|assist|provide|comply|fulfil|fulfill|answer|discuss|engage|support|create|generate|"
    r"write|share|give|offer|do\s+that|participate|continue)"
    r"|i(?:['’]m|\s+am)\s+(?:unable|not\s+able)\s+to"
    r"|(?:i(?:['’]m|\s+am)\s+)?sorry,?\s+(?:but\s+)?(?:i|as\s+an?)\b.{0,40}?(?:can['’]?t|cannot|unable|won['’]t|not\s+able)"
    r"|as\s+an\s+ai(?:\s+language\s+model)?,?\s+i\s+(?:can['’]?t|cannot|am\s+not|do\s+not|don['’]t))\b"
    r"|(?:抱歉|对不起|很遗憾).{0,12}(?:不能|无法|不可以|没办法)|作为(?:一个|一名)?(?:人工智能|AI|语言模型).{0,12}(?:不能|无法|不会)",
    re.IGNORECASE | re.DOTALL,
)
_BOILERPLATE = re.compile(
    r"\bas\s+an?\s+(?:ai|artificial\s+intelligence|large)(?:\s+language)?\s+model\b|\bas\s+an\s+ai\s+(?:assistant|chatbot)\b"
    r"|\bi(?:['’]m|\s+am)\s+(?:chatgpt|an\s+ai\s+(?:language\s+)?model)\b|\btrained\s+by\s+openai\b"
    r"|\bmy\s+(?:knowledge|training)\s+(?:cut-?off|data)\b|\bas\s+of\s+my\s+(?:last|knowledge)\b"
    r"|\bregenerate\s+response\b|\bi\s+hope\s+this\s+helps\b|\bis\s+there\s+anything\s+else\s+i\s+can\b"
    r"|作为(?:一个|一名)?(?:人工智能|AI)?(?:语言)?模型|我的(?:知识|训练)(?:数据)?截止|希望(?:这|以上).{0,6}(?:有所)?帮助",
    re.IGNORECASE,
)


def is_refusal(answer: str) -> bool:
    """Whether an answer begins with a refusal."""
    return _REFUSALS.search(answer[:OPENING]) is not None


def boilerplate_in(answer: str) -> str:
    """The phrase of a chat service in an answer; empty where there is none."""
    found = _BOILERPLATE.search(answer)
    return found[0] if found else ""
