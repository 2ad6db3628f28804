"""Personal data that have a pattern: addresses and numbers. Names and places have none, and are not found."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address

from rlhf.data.preparation.words import CHARACTERS

# Texts in Chinese have no space around an address or a number, so only letters and digits of ASCII are its neighbours.
_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9_.+-])(?:[^\W{CHARACTERS}]|[.%+-])+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{{2,}}(?![A-Za-z0-9_])"
)
_RESERVED = re.compile(r"@(?:.+\.)?example\.(?:com|org|net)$|\.(?:example|invalid|test)$", re.IGNORECASE)
"""RFC 2606: addresses that are nobody's."""
_IBAN = re.compile(r"(?<![A-Za-z0-9_])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9_])")
_CARD = re.compile(r"(?<![A-Za-z0-9_.-])[2-6](?:[ -]?\d){12,18}(?![A-Za-z0-9_-])")
_PHONE = re.compile(
    r"(?<![A-Za-z0-9_.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"  # +44 20 7946 0958
    r"|(?:1[-.])?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}"  # (202) 456-1111
    r"|1[3-9]\d{9})(?![A-Za-z0-9_-])"  # China's mobile numbers
)
_IP = re.compile(r"(?<![A-Za-z0-9_.-])(?:\d{1,3}\.){3}\d{1,3}(?![A-Za-z0-9_-]|\.\d)")
_DIGITS = re.compile(r"\d.{0,3}\d")


def _is_card(text: str) -> bool:
    """The checksum of card numbers (Luhn 1960)."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    """The checksum of ISO 13616: the number modulo 97 is 1."""
    compact = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _is_phone(text: str) -> bool:
    return 8 <= sum(c.isdigit() for c in text) <= 15


def _is_ip(text: str) -> bool:
    """Of the internet: not of a home network, nor one that documentation uses."""
    try:
        return ip_address(text).is_global
    except ValueError:
        return False


@dataclass(frozen=True)
class Pattern:
    """What is looked for; `worth` says quickly where it can't be."""

    name: str
    pattern: re.Pattern[str]
    is_one: Callable[[str], bool]
    worth: Callable[[str], object]


PATTERNS = (
    Pattern("email", _EMAIL, lambda text: not _RESERVED.search(text), lambda text: "@" in text),
    Pattern("iban", _IBAN, _is_iban, _DIGITS.search),
    Pattern("card", _CARD, _is_card, _DIGITS.search),
    Pattern("phone", _PHONE, _is_phone, _DIGITS.search),
    Pattern("ip", _IP, _is_ip, _DIGITS.search),
)
"""In this order: a card's number could be taken for a telephone's."""


def masked(text: str, kinds: Collection[str] | None = None) -> tuple[str, tuple[str, ...]]:
    """The text with `[EMAIL]` and the like in the place of personal data, and the kinds that were found.

    Args:
        kinds: names of `PATTERNS` to look for; `None`: all.
    """
    found: dict[str, None] = {}
    for one in PATTERNS:
        if (kinds is None or one.name in kinds) and one.worth(text):

            def put(match: re.Match[str], one: Pattern = one) -> str:
                if not one.is_one(match[0]):
                    return match[0]
                found[one.name] = None
                return f"[{one.name.upper()}]"

            text = one.pattern.sub(put, text)
    return text, tuple(found)
