"""Any tokenizer of the Hugging Face ecosystem that runs on the `tokenizers` library."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rlhf.data.files.hub import reachable
from rlhf.data.templates.marks import MarkedBackend, Piece, Spans
from rlhf.data.templates.stops import stop_ids
from rlhf.data.tokenizers.vocabulary import byte_of_character, bytes_of, fingerprint
from rlhf.errors import DataError


class HFTokenizer:
    """Wraps the backend of `AutoTokenizer`. No code from the folder or the hub is run.

    Args:
        folder_or_name: a folder, or a name on the Hugging Face hub.

    Raises:
        DataError: nothing there, not reachable, not a fast tokenizer, or no end-of-text token.
    """

    def __init__(self, folder_or_name: str | Path) -> None:
        self.name = Path(folder_or_name).name
        self._tokenizer = _load(folder_or_name)
        self.former_fingerprint: str | None = None
        found = self._tokenizer.chat_template
        self.chat_templates: dict[str, str] = dict(found) if isinstance(found, dict) else {}
        self.chat_template: str | None = default_template(self.chat_templates) if isinstance(found, dict) else found
        if self._tokenizer.eos_token_id is None:
            raise DataError(f"{folder_or_name}: the tokenizer has no end-of-text token (eos_token); training needs one")
        self.eos_id: int = self._tokenizer.eos_token_id
        self.eos_token = str(self._tokenizer.eos_token)
        self.pad_id: int | None = self._tokenizer.pad_token_id
        self.unknown_id: int | None = self._tokenizer.unk_token_id
        self.special_tokens: dict[str, str] = {
            key: str(value) for key, value in self._tokenizer.special_tokens_map.items() if isinstance(value, str)
        }
        self._backend = self._tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._plain = MarkedBackend(self._backend)
        self.special_texts = self._plain.specials
        if not self._backend.get_vocab(with_added_tokens=True).keys() - set(self.special_texts):
            # transformers makes an empty one of a class whose files are missing.
            raise DataError(
                f"{folder_or_name}: the tokenizer has no tokens; put the model's tokenizer files (tokenizer.json, "
                "tokenizer_config.json) beside its weights"
            )
        self.stop_ids = stop_ids(folder_or_name, self.eos_id)
        begin = self._tokenizer.bos_token_id
        prepended = begin is not None and self._backend.encode("").ids == [begin]
        self.prefix_ids: tuple[int, ...] = (begin,) if prepended else ()
        # SentencePiece-like backends put a space before whatever they are given, also in the middle of a text: there
        # the pieces are encoded behind an anchor whose ids are then taken away.
        whole, parts = self._plain.ids("a b"), [self._plain.ids(part) for part in ("a", " b")]
        self._anchor = "" if whole == parts[0] + parts[1] else "\n"
        self._anchor_ids = self._plain.ids(self._anchor)

    @cached_property
    def _vocab(self) -> dict[str, int]:
        """Tokens with ids, without a pad token that has the highest id."""
        vocab = self._backend.get_vocab(with_added_tokens=True)
        pad = self._tokenizer.pad_token
        if pad is not None and self.pad_id != self.eos_id and self.pad_id == max(vocab.values()):
            del vocab[pad]
        return vocab

    @cached_property
    def vocab_size(self) -> int:
        """Highest id + 1, without a pad token that has the highest id."""
        return max(self._vocab.values()) + 1

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over tokens, ids, end-of-text and chat template; a pad token with the highest id does not count."""
        return fingerprint(self._vocab, self.eos_token, self.chat_template)

    def _encode(self, ids_of: Callable[[str], list[int]], text: str) -> list[int]:
        if not self._anchor:
            return ids_of(text)
        ids = ids_of(self._anchor + text)
        if ids[: len(self._anchor_ids)] != self._anchor_ids:
            raise DataError(f"{self.name}: the tokenizer merges text across a line break, so prompts can't be cut")
        return ids[len(self._anchor_ids) :]

    def encode(self, text: str) -> list[int]:
        """Ids of a user's text; what looks like a special token in it is plain text."""
        return self._encode(self._plain.ids, _clean(text))

    def encode_template(self, text: str) -> list[int]:
        """Ids of a template's own text, with special tokens recognised."""
        return self._encode(lambda text: self._backend.encode(text, add_special_tokens=False).ids, text)

    def encode_pieces(self, pieces: Sequence[Piece]) -> Spans:
        """Ids of pieces as one text, special tokens recognised in literal ones, and where each piece begins."""
        return self._plain.encode([replace(piece, text=_clean(piece.text)) for piece in pieces])

    def with_chat_template(self, source: str) -> HFTokenizer:
        """The same tokenizer with another chat template, which `save` writes too."""
        other = copy.copy(self)
        other.former_fingerprint = self.fingerprint
        other.__dict__.pop("fingerprint", None)
        other._tokenizer = copy.copy(self._tokenizer)
        other.chat_template = other._tokenizer.chat_template = source
        other.chat_templates = {}
        return other

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids; what is not UTF-8 becomes U+FFFD, ids outside of the vocabulary nothing."""
        return self._backend.decode([int(id) for id in ids], skip_special_tokens=skip_special)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self._backend.get_added_tokens_decoder()
        return frozenset(id for id, token in added.items() if token.special)

    @cached_property
    def _byte_level(self) -> bool:
        return "ByteLevel" in repr(self._backend.decoder)

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for; empty for special tokens."""
        text = self._backend.id_to_token(int(token))
        if text is None or int(token) in self._special_ids:
            return b""
        if self._byte_level:
            alphabet = byte_of_character()
            # Added tokens that are not special (runs of spaces, say) stand in the vocabulary as they are.
            return bytes_of(text) if all(character in alphabet for character in text) else text.encode()
        if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            return bytes([int(text[3:5], 16)])
        return text.replace("▁", " ").encode()

    def save(self, folder: str | Path, pad_token: str | None = None) -> int | None:
        """Writes files that `AutoTokenizer` reads; returns the pad token's id."""
        from transformers import PreTrainedTokenizerFast

        Path(folder).mkdir(parents=True, exist_ok=True)
        if pad_token is None or self.pad_id == self.vocab_size:
            self._tokenizer.save_pretrained(folder)
            return self.pad_id
        special = {key: value for key, value in self.special_tokens.items() if key != "pad_token"}
        backend = type(self._backend).from_str(self._backend.to_str())
        copy = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=pad_token, **special)
        copy.chat_template = self._tokenizer.chat_template
        copy.save_pretrained(folder)
        return copy.pad_token_id


def default_template(templates: Mapping[str, str]) -> str | None:
    """The default one."""
    return templates.get("default") or (next(iter(templates.values())) if len(templates) == 1 else None)


def _clean(text: str) -> str:
    """Lone surrogates (half an emoji, as JSON may carry) become U+FFFD: the backend can't take them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _load(folder_or_name: str | Path) -> Any:
    from transformers import AutoTokenizer

    name = str(folder_or_name)
    local = Path(name).is_dir()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name, trust_remote_code=False, local_files_only=local or not reachable()
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        found = "no usable tokenizer in this folder" if local else "no such folder, and no tokenizer from the hub"
        reason = str(error).strip().split("\n")[0]
        raise DataError(f"{name}: {found} ({reason}); pass a model folder with tokenizer.json") from error
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise DataError(f"{name}: the tokenizer has no `tokenizers` backend; pass a folder with tokenizer.json")
    return tokenizer
