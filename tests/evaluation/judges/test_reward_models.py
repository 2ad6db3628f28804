"""Reward models as judges: another tokenizer or template is read by its own, and what is no number is no score."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from rlhf.data.records import Prompt
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.errors import ParentError
from rlhf.evaluation.judges.annotators import ScoreAnnotator
from rlhf.evaluation.judges.reward_models import check_scores, reward_judge, same_tokens
from rlhf.evaluation.judges.scorers import EnsembleJudge, RewardJudge
from rlhf.evaluation.winrates import win_rate
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_scorer

ARCHITECTURE = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 128}
CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PROMPT = Prompt.of("Why?")


def other_tokenizer(folder: Path) -> None:
    """Bytes in another order than anybody else's, with a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), reverse=True)
    vocabulary = {"<eos>": 0, **{char: i for i, char in enumerate(alphabet, 1)}}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    found = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    found.chat_template = CHAT
    found.save_pretrained(folder)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A reward model whose tokenizer is not the embedded task's."""
    folder = tmp_path / "other"
    other_tokenizer(folder)
    tokenizer = load_tokenizer("auto", folder)
    export(load_scorer(None, {**ARCHITECTURE, "initializer_range": 0.5}, tokenizer, seed=1), tokenizer, folder)
    return folder


@torch.no_grad()
def test_a_model_of_another_tokenizer_reads_the_text_by_its_own(other: Path) -> None:
    judge = reward_judge("collect.reward_model", str(other), 128)
    theirs, tokenizer = AutoModelForSequenceClassification.from_pretrained(other), AutoTokenizer.from_pretrained(other)
    for answer in ("Because.", "中文"):
        turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": answer}]
        ids = tokenizer.apply_chat_template(turns, tokenize=True, return_tensors="pt", return_dict=True)["input_ids"]
        assert judge.scores([PROMPT], [answer])[0] == pytest.approx(theirs(input_ids=ids).logits.item(), abs=1e-4)
    assert not same_tokens(judge, template_for(load_tokenizer("tiny")))
    assert same_tokens(judge, template_for(load_tokenizer("auto", other)))


def test_without_a_tokenizer_it_is_refused(other: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        (other / name).unlink(missing_ok=True)
    with pytest.raises(ParentError, match=r"^chat\.reward_model: .*other"):
        reward_judge("chat.reward_model", str(other), 128)


def test_a_tokenizer_that_was_exchanged_is_refused(other: Path) -> None:
    for file in (*other.glob("*.jinja"), other / "tokenizer_config.json"):
        file.write_text(file.read_text().replace("<assistant>", "<bot>"))
    with pytest.raises(ParentError, match=r"^evaluation\.reward_model: "):
        reward_judge("evaluation.reward_model", str(other), 128)


@pytest.fixture
def faulty() -> RewardJudge:
    """NaN for every text with a question mark in its answer, infinity for every one with a `!`."""
    tokenizer = load_tokenizer("tiny")
    template = template_for(tokenizer)
    model = (
        load_scorer(None, {**ARCHITECTURE, "initializer_range": 0.5}, tokenizer, seed=1).eval().requires_grad_(False)
    )
    embedding = model.hf.get_input_embeddings().weight.data
    for text, value in ((" ?", math.nan), (" !", math.inf)):
        embedding[template.response(text)[-2]] = value
    return RewardJudge(model, template, 128)


PROMPTS = [Prompt.of(text) for text in ("a", "b", "c", "d")]


def test_what_is_not_finite_is_left_out_and_counted(faulty: RewardJudge) -> None:
    mine, theirs = ["yes", "yes ?", "no", "yes"], ["no", "no", "no !", "yes"]
    marks = faulty(PROMPTS, mine), faulty(PROMPTS, theirs)
    assert [mark is None for mark in marks[0]] == [False, True, False, False]
    assert [mark is None for mark in marks[1]] == [False, False, True, False]
    rate = win_rate(*marks)
    assert rate is not None and rate.n == 2 and rate.ties == 1, "the equal answers tie, and nothing else"
    assert check_scores("k", faulty) == 2
    together = EnsembleJudge({"a": faulty, "b": faulty})
    assert [mark is None for mark in together(PROMPTS, mine)] == [False, True, False, False]
    assert len(together.not_finite) == 2


def test_a_collection_has_no_opinion_on_them(faulty: RewardJudge) -> None:
    ranks = ScoreAnnotator(faulty.scores).rank(PROMPTS[:2], [["yes", "no"], ["yes ?", "no"]])
    assert ranks[0] is not None and ranks[1] is None


def test_a_model_that_says_nothing_else_is_refused(faulty: RewardJudge) -> None:
    faulty(PROMPTS, ["?"] * 4)
    with pytest.raises(ParentError, match=r"^evaluation\.reward_model: .* 4 answers"):
        check_scores("evaluation.reward_model", faulty)
