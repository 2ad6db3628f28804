"""Byte-level BPE as GPT-2 has it, run through tiktoken and exported as files that `AutoTokenizer` reads."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rlhf.data.templates.marks import Piece, Spans
from rlhf.data.templates.stops import stop_ids
from rlhf.data.tokenizers.vocabulary import byte_of_character, bytes_of, fingerprint, read_json
from rlhf.errors import DataError

END_OF_TEXT = "<|endoftext|>"

Merges = Sequence[tuple[str, str]]


class TiktokenTokenizer:
    """A vocabulary with GPT-2's splitting rule.

    tiktoken merges by the ids of the merged tokens, so ids must rise in the order of the merges.

    Args:
        vocab: token (in GPT-2's printable alphabet for bytes) to id; may hold the end-of-text token.
        merges: pairs of tokens, most important first.
        stop_ids: what ends a text, where it is more than end-of-text.
        pad_token: if it is not in `vocab`, it has the id after the highest.

    Raises:
        DataError: not a complete byte-level BPE vocabulary.
    """

    prefix_ids: tuple[int, ...] = ()
    chat_templates: Mapping[str, str] = MappingProxyType({})
    former_fingerprint: str | None = None

    def __init__(
        self,
        name: str,
        vocab: dict[str, int],
        merges: Merges,
        eos_token: str = END_OF_TEXT,
        pad_token: str | None = None,
        chat_template: str | None = None,
        stop_ids: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self.eos_token = eos_token
        self.chat_template = chat_template
        self._merges = tuple(merges)
        self._vocab = {token: id for token, id in vocab.items() if token != eos_token}
        self.eos_id = vocab.get(eos_token, len(self._vocab))
        self.stop_ids = stop_ids or (self.eos_id,)
        self.special_texts = (eos_token,)
        self.pad_token = pad_token
        self.vocab_size = len(self._vocab) + 1
        self.unknown_id: int | None = None  # every byte has a token
        self.pad_id = None if pad_token is None else self._pad_id(pad_token)
        _check(name, self._vocab, self._merges, self.eos_id)

    def _pad_id(self, pad_token: str) -> int:
        return self.eos_id if pad_token == self.eos_token else self._vocab.get(pad_token, self.vocab_size)

    @property
    def special_tokens(self) -> dict[str, str]:
        return {"bos_token": self.eos_token, "eos_token": self.eos_token, "unk_token": self.eos_token}

    @cached_property
    def _encoding(self) -> Any:
        import tiktoken
        from tiktoken_ext.openai_public import r50k_pat_str

        ranks = {bytes_of(token): id for token, id in self._vocab.items()}
        return tiktoken.Encoding(
            self.name, pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={self.eos_token: self.eos_id}
        )

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        return {id: bytes_of(token) for token, id in self._vocab.items()}

    @cached_property
    def _lengths(self) -> dict[int, int]:
        """Bytes of each token; an end-of-text token counts as one."""
        return {self.eos_id: 1, **{id: len(text) for id, text in self._bytes.items()}}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over tokens, ids, end-of-text and chat template."""
        return fingerprint({**self._vocab, self.eos_token: self.eos_id}, self.eos_token, self.chat_template)

    def encode(self, text: str) -> list[int]:
        """Ids of a user's text; an end-of-text token spelt out in it is plain text."""
        return self._encoding.encode_ordinary(text)

    def encode_template(self, text: str) -> list[int]:
        """Ids of a template's own text, with end-of-text recognised."""
        return self._encoding.encode(text, allowed_special="all")

    def encode_pieces(self, pieces: Sequence[Piece]) -> Spans:
        """Ids of pieces as one text, end-of-text recognised in literal ones, and where each piece begins."""
        runs: list[str | None] = [""]  # texts between end-of-text tokens, which are None
        places: list[int] = []  # in bytes, an end-of-text token counts as one
        length = 0
        for piece in pieces:
            places.append(length)
            for number, part in enumerate(piece.text.split(self.eos_token) if piece.literal else [piece.text]):
                if number:
                    runs += [None, ""]
                    length += 1
                runs[-1] = f"{runs[-1]}{part}"
                length += len(part.encode(errors="surrogatepass"))
        places.append(length)
        ids = [id for run in runs for id in ([self.eos_id] if run is None else self.encode(run))]
        ends = {end: number for number, end in enumerate(accumulate(map(self._lengths.__getitem__, ids)), 1)}
        ends[0] = 0
        return Spans(ids, tuple(ends.get(place) for place in places))

    def with_chat_template(self, source: str) -> TiktokenTokenizer:
        """The same tokenizer with another chat template, which `save` writes too."""
        other = copy.copy(self)
        other.former_fingerprint = self.fingerprint
        other.__dict__.pop("fingerprint", None)
        other.chat_template = source
        return other

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids; what is not UTF-8 becomes U+FFFD, ids outside of the vocabulary nothing."""
        special = b"" if skip_special else self.eos_token.encode()
        parts = (special if id == self.eos_id else self._bytes.get(int(id), b"") for id in ids)
        return b"".join(parts).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for; empty for special tokens."""
        return self._bytes.get(int(token), b"")

    def save(self, folder: str | Path, pad_token: str | None = None) -> int | None:
        """Writes `tokenizer.json`, its configuration, `vocab.json` and `merges.txt`; returns the pad token's id."""
        from tokenizers import AddedToken, decoders, models, pre_tokenizers
        from tokenizers import Tokenizer as Backend

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if pad_token is None or self.pad_id == self.vocab_size:
            pad_token = self.pad_token
        vocab = {**self._vocab, self.eos_token: self.eos_id}
        backend = Backend(models.BPE(vocab=vocab, merges=list(self._merges)))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        backend.decoder = decoders.ByteLevel()
        specials = [self.eos_token] if pad_token in (None, self.eos_token) else [self.eos_token, str(pad_token)]
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
        backend.save(str(folder / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "name_or_path": self.name,
            **self.special_tokens,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 10**30,  # transformers' own value for "not limited here"
        }
        if pad_token is not None:
            config["pad_token"] = pad_token
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        _write_json(folder / "tokenizer_config.json", config)
        _write_json(folder / "vocab.json", vocab)
        lines = ["#version: 0.2", *(" ".join(pair) for pair in self._merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return None if pad_token is None else self._pad_id(pad_token)


def _check(name: str, vocab: dict[str, int], merges: Merges, eos_id: int) -> None:
    if not set(byte_of_character()) <= vocab.keys():
        raise DataError(f"{name}: not a byte-level vocabulary, some of the 256 single bytes have no token")
    if sorted([*vocab.values(), eos_id]) != list(range(len(vocab) + 1)):
        raise DataError(f"{name}: token ids must be 0..{len(vocab)}, each once")
    merged = [vocab.get(left + right, -1) for left, right in merges]
    if -1 in merged:
        raise DataError(f"{name}: merge {' '.join(merges[merged.index(-1)])!r} makes no token of the vocabulary")
    if sorted(set(merged)) != list(dict.fromkeys(merged)):
        raise DataError(f"{name}: token ids don't rise in the order of the merges, which tiktoken needs")
    if set(merged) | {vocab[character] for character in byte_of_character()} != set(vocab.values()):
        raise DataError(f"{name}: some tokens are made by no merge, so this is not plain byte-level BPE")


def parse_merges(text: str) -> list[tuple[str, str]]:
    """The pairs of a `merges.txt`. Only the first line can be a comment: later ones may be merges of `#`."""
    lines = text.split("\n")
    if lines[0].startswith("#version"):
        lines = lines[1:]
    return [(left, right) for left, _, right in (line.partition(" ") for line in lines) if right]


def read_folder(folder: Path) -> TiktokenTokenizer | None:
    """The tokenizer of a model folder of GPT-2's family; None where the folder holds another kind.

    Raises:
        DataError: files that are not JSON.
    """
    config = read_json(folder / "tokenizer_config.json")
    described = _from_tokenizer_json(read_json(folder / "tokenizer.json"))
    if described is None and not (folder / "tokenizer.json").exists() and _is_gpt2(folder, config):
        merges = (folder / "merges.txt").read_text(encoding="utf-8")
        described = read_json(folder / "vocab.json"), parse_merges(merges), []
    if described is None:
        return None
    vocab, merges_list, added = described
    eos = _content(config.get("eos_token")) or END_OF_TEXT
    pad = _content(config.get("pad_token"))
    if set(added) - {eos, pad} or config.get("add_bos_token") or config.get("add_prefix_space"):
        return None
    if pad is not None and pad != eos and vocab.get(pad) == max(vocab.values()):
        del vocab[pad]
    template = folder / "chat_template.jinja"
    chat = template.read_text(encoding="utf-8") if template.exists() else config.get("chat_template")
    if not isinstance(chat, str | None) or (folder / "additional_chat_templates").exists():
        return None  # several templates: the general loader knows their names
    name = Path(str(config.get("name_or_path") or folder)).name
    stops = stop_ids(folder, vocab.get(eos, len(vocab)))
    try:
        return TiktokenTokenizer(name, vocab, merges_list, eos, pad, chat, stops)
    except DataError:
        return None  # byte-level, but not in the order that tiktoken needs: the general loader takes it


def _from_tokenizer_json(data: dict[str, Any]) -> tuple[dict[str, int], list[tuple[str, str]], list[str]] | None:
    model, splitter = data.get("model") or {}, data.get("pre_tokenizer") or {}
    plain = (
        model.get("type") == "BPE"
        and not any(model.get(key) for key in ("dropout", "unk_token", "byte_fallback", "ignore_merges"))
        and splitter.get("type") == "ByteLevel"
        and not splitter.get("add_prefix_space")
        and splitter.get("use_regex", True)
        and data.get("normalizer") is None
    )
    if not plain:
        return None
    # Older files write a merge as one text with a space, newer ones as a pair.
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    merges = [(str(left), str(right)) for left, right in pairs]
    return dict(model["vocab"]), merges, [token["content"] for token in data.get("added_tokens", [])]


def _is_gpt2(folder: Path, config: dict[str, Any]) -> bool:
    if not ((folder / "vocab.json").exists() and (folder / "merges.txt").exists()):
        return False
    named = str(config.get("tokenizer_class", "")).startswith("GPT2Tokenizer")
    return named or read_json(folder / "config.json").get("model_type") == "gpt2"


def _content(token: Any) -> str | None:
    """Special tokens stand in configurations as text or as a dictionary with `content`."""
    return token.get("content") if isinstance(token, dict) else token


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
