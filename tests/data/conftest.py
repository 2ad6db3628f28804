"""What several tests of the data package share: odd strings, a chat tokenizer made here, real data if it is there."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import settings

from rlhf.data.tokenizers.tokenizer import HFTokenizer, Tokenizer, load_tokenizer

# A busy machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

CHAT_TEMPLATE = """\
{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}
{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}
{% endif %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""

PARTS = (
    *"abcXYZ019 .,;:!?'\"-_#@<|>[]{}()\n\t\r\0\x07\x1b\x1f\x7f\x85\xa0\u2003\u3000\u200b\ufeff\u0301",
    *"äßéñøАЖдя中文汉字龘ひカ한글ไทยहिالعربية①²½Ⅷ٣",
    *"😀👩‍👩‍👧🇩🇪🏽\U0010ffff",
    "the", "Hello", "'s", "'ll", "  ", "\n\n", " \n", "   x", "don't", "123456", "）。", "中文字符",
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>", "<|endoftext", "endoftext|>", "[PAD]",
    "### Human:", "\n### Assistant:", "### Assistant: ",
)  # fmt: skip


def make_odd_strings(count: int, seed: int) -> list[str]:
    """Random strings of letters of many scripts, emoji, control characters and look-alikes of special tokens."""
    draw = random.Random(seed)
    return ["".join(draw.choices(PARTS, k=draw.randint(0, 30))) for _ in range(count)]


@pytest.fixture(scope="session")
def odd_strings() -> list[str]:
    """10,000 of them."""
    return make_odd_strings(10_000, seed=0)


@pytest.fixture(scope="session")
def odd_texts() -> list[str]:
    """Some 1,900, stripped and not empty: what a record's text can be."""
    return [text for text in (string.strip() for string in make_odd_strings(2_000, seed=1)) if text]


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small byte-level tokenizer that has ChatML markers and splits digits, so not GPT-2's kind."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(make_odd_strings(300, seed=7), trainer)
    markers = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    backend.add_special_tokens([AddedToken(marker, special=True, normalized=False) for marker in markers])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    folder = tmp_path_factory.mktemp("chat")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sentencepiece_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small Llama-2-like tokenizer: a space before every text, byte fallback, begin-of-text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizer
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=specials, show_progress=False)
    trained.train_from_iterator(["the cat sat on a mat ### Human: hello ### Assistant: good day"] * 5, trainer)
    model = json.loads(trained.to_str())["model"]
    # The trainer knows no fallback bytes that are ordinary tokens, so they are added to what it found.
    vocab = model["vocab"] | {f"<0x{byte:02X}>": len(model["vocab"]) + byte for byte in range(256)}
    merges = [tuple(pair) for pair in model["merges"]]
    backend = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizer
    backend.add_special_tokens(specials)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    folder = tmp_path_factory.mktemp("sentencepiece")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", params=["tiny", "gpt2", "chat", "smollm2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Every kind of tokenizer; the real chat model's only where RLHF_SMOLLM2 names its folder."""
    if request.param in ("tiny", "gpt2"):
        return load_tokenizer(request.param)
    if request.param == "chat":
        return HFTokenizer(request.getfixturevalue("chat_folder"))
    folder = os.environ.get("RLHF_SMOLLM2")
    if folder is None:
        pytest.skip("RLHF_SMOLLM2 does not name a folder with SmolLM2")
    return load_tokenizer("auto", folder)


@pytest.fixture(scope="session")
def hh_file() -> Path:
    """Real human comparisons, kept beside the repository."""
    file = Path(__file__).parents[2].parent / "shared" / "data" / "hh_rlhf" / "harmless-base.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{file.name} of HH-RLHF is not beside the repository")
    return file
