from __future__ import annotations

import pytest

from rlhf.data.preparation.normalise import normaliser
from rlhf.data.preparation.removal.filters import Filters, Lengths
from rlhf.data.preparation.removal.language import Languages
from rlhf.data.preparation.texts import Texts, texts_of, with_texts
from rlhf.data.preparation.words import words_of
from rlhf.data.records import Comparison, Labelled, Prompt, Ranking
from rlhf.errors import ConfigError


def reason(filters: Filters, prompt: str, *answers: str, imitated: int | None = 0) -> str | None:
    texts = Texts((prompt,), answers, imitated if answers else None)
    found = filters.removal(texts, len(words_of(prompt)), [len(words_of(answer)) for answer in answers])
    return found.reason if found else None


def test_lengths_are_those_of_prompt_and_longest_answer() -> None:
    filters = Filters(Lengths(3, 5, 1, 3))
    assert reason(filters, "a", "b") == "too_short"
    assert reason(filters, "a", "b", "c d") is None
    assert reason(filters, "a b c", "d e f") == "too_long"
    assert reason(filters, "a b c", "d", "…") == "answer_too_short"
    assert reason(filters, "a", "b c d e") == "answer_too_long"
    assert reason(filters, "a b c") is None, "a prompt has no answer that could be too short"


def test_regular_expressions_look_at_every_text() -> None:
    assert reason(Filters(keep=["x"]), "a", "b") == "keep_matching"
    assert reason(Filters(keep=["x"]), "a", "b", "x") is None
    assert reason(Filters(drop=["x"]), "a", "b", "x") == "drop_matching"
    assert reason(Filters(drop=["^b$"]), "a", "ab") is None


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot assist you with this request.",
        "As an AI language model, I don't have opinions.",
        "I am not able to discuss it.",
        "抱歉，我不能回答这个问题。",
    ],
)
def test_refusals_are_those_of_the_answer_to_imitate(answer: str) -> None:
    assert reason(Filters(refusals=True), "a", answer, "fine") == "refusal"
    assert reason(Filters(refusals=True), "a", "fine", answer) is None, "what is rejected may refuse"
    assert reason(Filters(refusals=True), answer, "fine") is None
    assert reason(Filters(), "a", answer) is None, "only where it is asked for"


@pytest.mark.parametrize(
    "answer", ["I can help with that.", "Sorry to hear that! Take care.", "You cannot open it without a key.", "我能。"]
)
def test_what_is_no_refusal_stays(answer: str) -> None:
    assert reason(Filters(refusals=True, boilerplate=True), "a", answer) is None


def test_boilerplate() -> None:
    assert reason(Filters(boilerplate=True), "a", "Well, as an AI language model I say so.") == "boilerplate"
    assert reason(Filters(boilerplate=True), "a", "希望以上内容有所帮助") == "boilerplate"


def test_other_languages_go_and_what_nobody_can_tell_stays() -> None:
    pytest.importorskip("py3langid", reason="py3langid is of the extra prepare")
    filters = Filters(languages=Languages(["en", "zh"]))
    assert reason(filters, "What is the capital of France?", "It is Paris, of course.") is None
    assert reason(filters, "法国的首都是哪里？请你详细地告诉我，谢谢你的帮助。", "法国的首都当然是巴黎。") is None
    assert reason(filters, "Was ist die Hauptstadt von Frankreich?", "Das ist natürlich Paris.") == "language"
    assert reason(filters, "Ja?", "Ja!") is None
    with pytest.raises(ConfigError, match=r"^filter\.languages: 'english'"):
        Languages(["english"])


def test_normalising() -> None:
    say = normaliser()
    assert say(" cafe\u0301\r\nno\rno\x00\ufeff\t\n") == "caf\u00e9\nno\nno"
    assert normaliser("NFKC")("\uff21") == "A" and say("\uff21") == "\uff21"
    assert normaliser("none", whitespace=False)(" e\u0301\r\n") == " e\u0301\r\n"


def test_texts_are_changed_one_by_one_and_what_becomes_empty_or_equal_is_none() -> None:
    hi = Prompt.of("Hi ")
    assert with_texts(Comparison(hi, "a ", "b "), str.strip) == Comparison(Prompt.of("Hi"), "a", "b")
    assert with_texts(Ranking(hi, ("a ", "b"), (1, 2)), str.strip).responses == ("a", "b")  # type: ignore[union-attr]
    for record in (Comparison(hi, "a ", "a"), Ranking(hi, ("a ", "a"), (1, 2))):
        with pytest.raises(ValueError, match="equal"):
            with_texts(record, str.strip)
    with pytest.raises(ValueError, match="empty"):
        with_texts(Labelled(hi, "a", True), lambda text: text.replace("a", ""))
    assert texts_of(Ranking(hi, ("a", "b"), (2, 1))).imitated == 1
    assert texts_of(Labelled(hi, "a", False)).imitated is None
