"""Texts that a tokenizer can't write: how much of the data they are is said, and too much of them is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf.data.records import Comparison, Demonstration, Document, Kind, Prompt, Record
from rlhf.data.rows import make_rows
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import HFTokenizer, Tokenizer, load_tokenizer
from rlhf.data.unknown import check_unknown
from rlhf.errors import DataError

LETTERS = list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ#:\n.")


@pytest.fixture(scope="module", params=["writes <unk>", "drops"])
def limited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Knows English letters alone, one token each; others become `<unk>`, or nothing."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocab = {"<unk>": 0, "</s>": 1} | {letter: number for number, letter in enumerate(LETTERS, 2)}
    unknown = {"unk_token": "<unk>"} if request.param == "writes <unk>" else {}
    backend = Tokenizer(models.BPE(vocab, [], **unknown))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<unk>", "</s>"])
    folder = tmp_path_factory.mktemp("limited")
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", **unknown).save_pretrained(folder)
    return HFTokenizer(folder)


def said(records: list[Record], kind: Kind, tokenizer: Tokenizer, allowed: float = 0.05) -> str | None:
    rows, _ = make_rows(records, kind, template_for(tokenizer), 10_000)
    return check_unknown(records, rows, tokenizer, allowed)


def test_a_little_is_said_and_much_is_refused(limited: Tokenizer) -> None:
    few: list[Record] = [Demonstration(Prompt.of("why"), "because " * 20 + "é")] * 3
    found = said(few, "demonstrations", limited)
    # 25 tokens of headers are no content of ours, but tokens all the same.
    assert found is not None and found.startswith("data.max_unknown: 0.") and "%" in found
    many: list[Record] = [Demonstration(Prompt.of("为什么"), "因为")] * 3
    with pytest.raises(DataError, match=r"data\.max_unknown: .*more than 5%.*raise data\.max_unknown"):
        said(many, "demonstrations", limited)
    assert said(many, "demonstrations", limited, allowed=1) is not None
    with pytest.raises(DataError):
        said(few, "demonstrations", limited, allowed=0)


@pytest.mark.parametrize("kind", ["comparisons", "prompts", "documents"])
def test_of_every_kind(limited: Tokenizer, kind: Kind) -> None:
    records: list[Record] = (
        [Document("纯文本" * 50)] if kind == "documents" else [Comparison(Prompt.of("为什么" * 30), "因为", "不知道")]
    )
    with pytest.raises(DataError, match="unknown to the tokenizer"):
        said(records, kind, limited)


def test_what_is_known_is_not_spoken_of(limited: Tokenizer, tokenizer: Tokenizer, sentencepiece_folder: Path) -> None:
    records: list[Record] = [Demonstration(Prompt.of("why"), "because")]
    assert said(records, "demonstrations", limited) is None
    records = [Demonstration(Prompt.of("为什么"), "\U00013000 é 🪿")]
    for able in (tokenizer, HFTokenizer(sentencepiece_folder), load_tokenizer("gpt2")):
        assert said(records, "demonstrations", able, allowed=0) is None
