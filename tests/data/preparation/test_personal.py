from __future__ import annotations

import pytest

from rlhf.data.preparation.removal.personal import masked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jo.e+x@mail.acme.co.uk, please", "write to [EMAIL], please"),
        ("call +44 20 7946 0958 now", "call [PHONE] now"),
        ("call (202) 456-1111", "call [PHONE]"),
        ("手机13812345678。", "手机13812345678。"),  # part of a word of digits and letters: \w has no border there
        ("手机 13812345678。", "手机 [PHONE]。"),
        ("card 4111 1111 1111 1111 ok", "card [CARD] ok"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN [IBAN]."),
        ("from 84.23.99.177 today", "from [IP] today"),
    ],
)
def test_personal_data_are_replaced_by_their_kind(text: str, expected: str) -> None:
    assert masked(text)[0] == expected


@pytest.mark.parametrize(
    "text",
    [
        "jo@example.com and jo@sub.example.org are nobody's",
        "card 4111 1111 1111 1112 has a wrong checksum",
        "IBAN DE88 3704 0044 0532 0130 00 has one too",
        "127.0.0.1, 192.168.1.7, 10.0.0.1, 300.1.1.1 and 1.2.3",
        "in 1914-1918, 3.14159265358979, 1,234,567,890 and 2026-11-28 12:30:00",
        "π = 3.14159265358979323846, 10 000 000 people, $1,000,000",
        "a = b@c, x@y",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert masked(text) == (text, ())


def test_only_the_kinds_that_are_asked_for() -> None:
    text = "a@acme.com, (202) 456-1111"
    assert masked(text)[1] == ("email", "phone")
    assert masked(text, ["phone"]) == ("a@acme.com, [PHONE]", ("phone",))
