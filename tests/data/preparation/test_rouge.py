"""ROUGE-L: numbers worked out by hand, and those of other implementations."""

from __future__ import annotations

import itertools
import random

import pytest

from rlhf.data.preparation.synthetic.rouge import Pool, longest_common_subsequence, rouge_l
from rlhf.data.preparation.words import words_of

SIX, FIVE = words_of("The cat sat on the mat."), words_of("The cat, on a mat!")


def test_hand_computed() -> None:
    # the cat on mat: 4 of 6 words and of 5; P = 4/5, R = 4/6, F1 = 2PR/(P + R) = 8/11.
    assert longest_common_subsequence(SIX, FIVE) == longest_common_subsequence(FIVE, SIX) == 4
    assert rouge_l(SIX, FIVE) == pytest.approx(8 / 11, abs=1e-15)
    # 请 把 句 翻 译 成 文: 7 of 12 characters and of 10.
    assert rouge_l(words_of("请把下面的句子翻译成英文"), words_of("请把这句话翻译成法文。")) == pytest.approx(14 / 22)
    # The order counts: of three words turned round one is left.
    assert rouge_l(["a", "b", "c"], ["c", "b", "a"]) == pytest.approx(2 / 6)
    assert rouge_l(SIX, SIX) == 1 and rouge_l(SIX, []) == rouge_l([], []) == 0


def texts() -> list[list[str]]:
    source = random.Random(3)
    return [[source.choice("abcdefg") for _ in range(source.randint(1, 90))] for _ in range(40)]


def test_other_implementations_say_the_same() -> None:
    """torchmetrics fills the whole table; more than 64 words need more than one machine word here."""
    from torchmetrics.functional.text import rouge_score

    found = texts()
    for ours, theirs in itertools.pairwise(found):
        theirs_says = rouge_score(
            " ".join(ours), " ".join(theirs), rouge_keys="rougeL", tokenizer=str.split, normalizer=str
        )
        assert rouge_l(ours, theirs) == pytest.approx(float(theirs_says["rougeL_fmeasure"]), abs=1e-6)


def test_google_s_package_says_the_same() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is no dependency")
    found = texts()
    for ours, theirs in itertools.pairwise(found):
        score = scorer.RougeScorer(["rougeL"]).score(" ".join(ours), " ".join(theirs))["rougeL"].fmeasure
        assert rouge_l(ours, theirs) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.3, 0.7, 1.0])
def test_the_pool_finds_what_a_look_at_all_texts_finds(threshold: float) -> None:
    pool, kept = Pool(threshold), []
    for words in [*texts(), *texts()[:5]]:
        expected = next((n for n, other in enumerate(kept) if rouge_l(other, words) >= threshold), None)
        assert pool.similar(words) == expected
        if expected is None:
            pool.add(words)
            kept.append(words)


def test_a_similarity_of_the_threshold_itself_is_too_much() -> None:
    pool = Pool(0.7)
    pool.add([*"abcdefghij"])
    assert pool.similar([*"abcdefgxyz"]) == 0, "2·7/20 = 0.7"
    assert pool.similar([*"abcdefwxyz"]) is None, "2·6/20 = 0.6"
