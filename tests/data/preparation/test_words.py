from __future__ import annotations

import numpy as np
import pytest

from rlhf.data.preparation.words import WordNumbers, jaccard, ngrams, shingles, words_of


def numbers(text: str) -> np.ndarray:
    return WordNumbers()(words_of(text))


def test_words_are_those_of_any_script() -> None:
    assert words_of("Don't PANIC: 42!") == ["don", "t", "panic", "42"]
    assert words_of("GPT能不能？ ok") == ["gpt", "能", "不", "能", "ok"]
    assert words_of("…") == []


def test_numbers_are_the_same_in_every_process() -> None:
    # blake2b("a") of eight bytes, little endian: Python's own hash would differ from run to run.
    assert numbers("a").tolist() == [int.from_bytes(bytes.fromhex("40f89e395b66422f"), "little")]
    known = WordNumbers()
    assert known(["a", "b", "a"]).tolist() == [*known(["a"]), *known(["b"]), *known(["a"])]


def test_ngrams_depend_on_the_order_of_words() -> None:
    assert len(ngrams(numbers("a b c d"), 3)) == 2
    assert len(ngrams(numbers("a b"), 3)) == 0
    assert ngrams(numbers("a b"), 2)[0] != ngrams(numbers("b a"), 2)[0]
    assert ngrams(numbers("x a b c y"), 3)[1] == ngrams(numbers("a b c"), 3)[0]


def test_similarity_of_two_texts_by_hand() -> None:
    # abc, bcd, cde against abc, bcd, cdf: 2 of 4 in common.
    ours, theirs = (shingles(numbers(text), 3) for text in ("a b c d e", "A, b; c d f"))
    assert jaccard(ours, theirs) == 0.5
    assert jaccard(ours, ours) == 1
    # A text of fewer words is one n-gram; one without words equals another one of that kind only.
    assert jaccard(*(shingles(numbers(text), 3) for text in ("a b", "a b"))) == 1
    assert jaccard(*(shingles(numbers(text), 3) for text in ("a b", "a c"))) == 0
    assert jaccard(shingles(numbers(""), 3), shingles(numbers("…"), 3)) == 1
    assert jaccard(shingles(numbers(""), 3), ours) == 0


@pytest.mark.parametrize("n", [1, 3, 13])
def test_a_repeated_ngram_counts_once(n: int) -> None:
    text = " ".join(map(str, range(n))) + " "
    once, thrice = shingles(numbers(f"{text}{text}"), n), shingles(numbers(text * 3), n)
    assert jaccard(once, thrice) == 1 and len(thrice) > len(once)
