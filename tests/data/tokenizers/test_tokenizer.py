"""Ids are the same through tiktoken, through our wrappers and through AutoTokenizer on what we export."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import pytest

from rlhf.data.assistant import corpus
from rlhf.data.files import hub
from rlhf.data.tokenizers import hf
from rlhf.data.tokenizers.bpe import TiktokenTokenizer, parse_merges
from rlhf.data.tokenizers.gpt2_files import SHA256, read_openai_files
from rlhf.data.tokenizers.tiny import TINY_TOKENS, tiny_tokenizer, train_bpe
from rlhf.data.tokenizers.tokenizer import HFTokenizer, Tokenizer, load_tokenizer
from rlhf.errors import DataError

PAD = "<|pad|>"


def test_exports_give_the_same_ids_through_autotokenizer(
    tokenizer: Tokenizer, odd_strings: list[str], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    pad_id = tokenizer.save(tmp_path, pad_token=PAD)
    exported = AutoTokenizer.from_pretrained(tmp_path)
    assert pad_id == exported.pad_token_id == tokenizer.vocab_size != tokenizer.eos_id
    assert exported.eos_token_id == tokenizer.eos_id
    strings = odd_strings if isinstance(tokenizer, TiktokenTokenizer) else odd_strings[:2000]
    plain = exported(strings, split_special_tokens=True, add_special_tokens=False)["input_ids"]
    assert plain == [tokenizer.encode(string) for string in strings]
    # The pad token is new in the export, so only what does not spell it out can agree.
    usual = [string for string in strings if PAD not in string]
    special = exported(usual, add_special_tokens=False)["input_ids"]
    assert special == [tokenizer.encode_template(string) for string in usual]


def test_what_is_exported_loads_as_the_same_tokenizer(
    tokenizer: Tokenizer, odd_strings: list[str], tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "one", pad_token=PAD)
    again = load_tokenizer("auto", tmp_path / "one")
    assert type(again) is type(tokenizer)
    assert again.fingerprint == tokenizer.fingerprint
    assert (again.vocab_size, again.eos_id, again.eos_token) == (
        tokenizer.vocab_size,
        tokenizer.eos_id,
        tokenizer.eos_token,
    )
    assert again.chat_template == tokenizer.chat_template
    assert again.pad_id == tokenizer.vocab_size
    assert [again.encode(s) for s in odd_strings[:1000]] == [tokenizer.encode(s) for s in odd_strings[:1000]]
    # A second export, with any pad token, keeps the first one's.
    assert again.save(tmp_path / "two", pad_token="<|other|>") == tokenizer.vocab_size
    assert load_tokenizer("auto", tmp_path / "two").pad_id == tokenizer.vocab_size
    named = [json.loads((tmp_path / n / "tokenizer_config.json").read_text())["pad_token"] for n in ("one", "two")]
    assert named == [PAD, PAD]


def test_decoding_gives_the_text_back(tokenizer: Tokenizer, odd_strings: list[str]) -> None:
    for string in odd_strings[:1000]:
        ids = tokenizer.encode(string)
        assert tokenizer.decode(ids) == string
        assert b"".join(tokenizer.token_bytes(id) for id in ids) == string.encode()


def test_specials_and_strange_ids(tokenizer: Tokenizer) -> None:
    eos = tokenizer.eos_token
    assert tokenizer.encode_template(f"a{eos}")[-1] == tokenizer.eos_id
    assert tokenizer.eos_id not in tokenizer.encode(f"a{eos}")
    ids = [*tokenizer.encode("ab"), tokenizer.eos_id, 10**6]
    assert tokenizer.decode(ids) == "ab"
    assert tokenizer.decode(ids, skip_special=False) == "ab" + eos
    assert tokenizer.token_bytes(tokenizer.eos_id) == tokenizer.token_bytes(10**6) == b""
    assert tokenizer.encode("") == [] == tokenizer.encode_template("")
    assert len(tokenizer.encode("half an emoji: \ud83d")) > 1


def test_gpt2_has_the_published_ids() -> None:
    gpt2 = load_tokenizer("gpt2")
    assert (gpt2.vocab_size, gpt2.eos_id, gpt2.pad_id) == (50257, 50256, None)
    assert gpt2.encode("Hello world") == [15496, 995]
    assert gpt2.encode("### Human: hi\n### Assistant:") == [21017, 5524, 25, 23105, 198, 21017, 15286, 25]


def test_hashes_are_the_ones_that_tiktoken_publishes() -> None:
    from tiktoken_ext import openai_public

    source = inspect.getsource(openai_public.gpt2)
    assert all(digest in source for digest in SHA256.values())


def test_changed_or_missing_gpt2_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"vocab\.bpe: can't be read"):
        read_openai_files(tmp_path)
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\na b\n")
    with pytest.raises(DataError, match="is not OpenAI's"):
        read_openai_files(tmp_path)


def test_gpt2_in_the_old_layout_goes_through_tiktoken(tmp_path: Path) -> None:
    gpt2 = load_tokenizer("gpt2")
    gpt2.save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    again = load_tokenizer("auto", tmp_path)
    assert isinstance(again, TiktokenTokenizer)
    assert again.fingerprint == gpt2.fingerprint
    (tmp_path / "vocab.json").unlink()
    assert load_tokenizer("gpt2", tmp_path).fingerprint == gpt2.fingerprint  # the package's files step in


def test_a_gpt2_class_with_another_splitting_rule_is_not_taken_for_gpt2(tmp_path: Path, chat_folder: Path) -> None:
    folder = shutil.copytree(chat_folder, tmp_path / "copy")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "GPT2Tokenizer"}))
    backend = json.loads((folder / "tokenizer.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(backend["model"]["vocab"]))
    (folder / "merges.txt").write_text("\n".join(" ".join(pair) for pair in backend["model"]["merges"]))
    assert isinstance(load_tokenizer("auto", folder), HFTokenizer)


def test_tiny_is_small_and_always_the_same() -> None:
    tiny = tiny_tokenizer()
    assert 256 < tiny.vocab_size <= 1001
    assert tiny.eos_id == tiny.vocab_size - 1
    tiny_tokenizer.cache_clear()
    assert tiny_tokenizer().fingerprint == tiny.fingerprint
    # A change of the corpus changes what every tiny model ever trained means: let it be on purpose.
    assert train_bpe("tiny", corpus(), TINY_TOKENS).fingerprint == tiny.fingerprint, "the file is as it is trained"
    assert tiny.fingerprint == "498c3ed186773cada06d688ae9d87eb05f29d426599412e2695b2b103e6fbd20"


def test_fingerprints_tell_tokenizers_apart() -> None:
    one, other = train_bpe("x", ["ab ab"], 300), train_bpe("x", ["ab ac ab ac"], 300)
    assert one.fingerprint != other.fingerprint
    chat = TiktokenTokenizer("x", {**one._vocab, one.eos_token: one.eos_id}, one._merges, chat_template="{{ 1 }}")
    assert chat.fingerprint != one.fingerprint
    padded = TiktokenTokenizer("x", {**one._vocab, one.eos_token: one.eos_id}, one._merges, pad_token=PAD)
    assert padded.fingerprint == one.fingerprint


def test_merges_of_number_signs_are_not_comments() -> None:
    assert parse_merges("#version: 0.2\n# #\nĠ a\n") == [("#", "#"), ("Ġ", "a")]


def test_vocabularies_that_tiktoken_would_misread_are_refused() -> None:
    one = train_bpe("x", ["abab abab"], 300)
    vocab = {**one._vocab, one.eos_token: one.eos_id}
    with pytest.raises(DataError, match="order of the merges"):
        TiktokenTokenizer("x", vocab, one._merges[::-1])
    with pytest.raises(DataError, match="makes no token"):
        TiktokenTokenizer("x", vocab, [*one._merges, ("z", "z")])
    with pytest.raises(DataError, match="made by no merge"):
        TiktokenTokenizer("x", vocab, one._merges[:-1])
    with pytest.raises(DataError, match="single bytes"):
        TiktokenTokenizer("x", {"a": 0, "<|endoftext|>": 1}, [])
    with pytest.raises(DataError, match="each once"):
        TiktokenTokenizer("x", {**vocab, one.eos_token: 0}, one._merges)


def test_sentencepiece_pieces_add_up_to_the_whole(sentencepiece_folder: Path) -> None:
    tokenizer = HFTokenizer(sentencepiece_folder)
    whole = tokenizer._backend.encode("the cat 中 sat").ids
    assert tokenizer.prefix_ids == (whole[0],)
    # The anchored pieces lack only the space that the backend puts before a whole text.
    pieces = tokenizer.encode("the") + tokenizer.encode(" cat 中") + tokenizer.encode(" sat")
    assert tokenizer.decode(pieces) == "the cat 中 sat"
    assert tokenizer.encode("the cat 中 sat") == pieces
    assert b"".join(map(tokenizer.token_bytes, pieces)) == "the cat 中 sat".encode()


def test_errors_name_what_to_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="pass a model folder"):
        load_tokenizer("auto")
    with pytest.raises(DataError, match="no usable tokenizer in this folder"):
        load_tokenizer("auto", tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match=r"tokenizer\.json: not readable as JSON"):
        load_tokenizer("auto", tmp_path)
    monkeypatch.setattr(hf, "reachable", lambda: False)
    with pytest.raises(DataError, match="no such folder, and no tokenizer from the hub"):
        load_tokenizer("auto", "nobody/nothing")


def test_an_unreachable_hub_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class Session:
        def head(self, url: str, timeout: float) -> None:
            raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    hub.reachable.cache_clear()
    assert not hub.reachable()
    hub.reachable.cache_clear()


def test_a_folder_without_tokenizer_files_is_refused(tmp_path: Path) -> None:
    """Else transformers makes one without tokens, by the class that the model's configuration names."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(DataError, match=r"tokenizer\.json") as caught:
        load_tokenizer("auto", tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_tokenizer_without_end_of_text_is_refused(tmp_path: Path, chat_folder: Path) -> None:
    folder = shutil.copytree(chat_folder, tmp_path / "copy")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="no end-of-text token"):
        load_tokenizer("auto", folder)
