"""What byte-level vocabularies share: GPT-2's printable alphabet for bytes, fingerprints, JSON files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlhf.errors import DataError
from rlhf.storage.reading import Unreadable
from rlhf.storage.reading import read_json as parse_file


@lru_cache(maxsize=1)
def byte_of_character() -> dict[str, int]:
    """GPT-2's alphabet: each printable Latin-1 byte is itself, the others are U+0100 and up (Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


def bytes_of(token: str) -> bytes:
    """The bytes that a token in that alphabet stands for.

    Raises:
        DataError: a character outside of the alphabet.
    """
    alphabet = byte_of_character()
    try:
        return bytes(alphabet[character] for character in token)
    except KeyError as error:
        raise DataError(f"token {token!r} is not in the byte-level alphabet") from error


def fingerprint(vocab: Mapping[str, int], eos_token: str, chat_template: str | None) -> str:
    """sha256, hexadecimal, of tokens with ids, end-of-text and chat template."""
    tokens = sorted(vocab.items(), key=lambda item: (item[1], item[0]))
    content = json.dumps([tokens, eos_token, chat_template], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no such file.

    Raises:
        DataError: the file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        data = parse_file(path)
    except (OSError, Unreadable) as error:
        raise DataError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data
