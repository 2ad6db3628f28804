from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlhf.data.preparation.removal.personal import masked
from tests.data.preparation.test_steps import counts, read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jo.e+x@mail.acme.co.uk, please", "write to [EMAIL], please"),
        ("call +44 20 7946 0958 now", "call [PHONE] now"),
        ("call (202) 456-1111", "call [PHONE]"),
        ("手机13812345678是我的", "手机[PHONE]是我的"),
        ("邮箱是jo@acme.com，或josé@acme.fr也行", "邮箱是[EMAIL]，或[EMAIL]也行"),
        ("卡号4111111111111111。IP是84.23.99.177吗", "卡号[CARD]。IP是[IP]吗"),
        ("账户DE89 3704 0044 0532 0130 00已开", "账户[IBAN]已开"),
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
        "订单A13812345678号，编号ID-13812345678，第138123456789号",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert masked(text) == (text, ())


def test_only_the_kinds_that_are_asked_for() -> None:
    text = "a@acme.com, (202) 456-1111"
    assert masked(text)[1] == ("email", "phone")
    assert masked(text, ["phone"]) == ("a@acme.com, [PHONE]", ("phone",))


MAIL = "jo@acme.com"
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"to": [MAIL]}}}]}
RESULT = {"role": "tool", "content": "done"}
ASK = {"role": "user", "content": "hi"}
PLACES: dict[str, tuple[Any, dict[str, Any]]] = {
    "system text": ("prompts", {"prompt": [{"role": "system", "content": f"I am {MAIL}"}, ASK]}),
    "earlier turn": ("prompts", {"prompt": [ASK, {"role": "assistant", "content": MAIL}, ASK]}),
    "tool call": ("demonstrations", {"messages": [ASK, CALL, RESULT, {"role": "assistant", "content": "ok"}]}),
    "call as answer": ("demonstrations", {"messages": [ASK, CALL]}),
    "tool": ("prompts", {"prompt": "hi", "tools": [{"function": {"name": "f", "description": f"ask {MAIL}"}}]}),
    "field": ("prompts", {"prompt": "hi", "reference": {"by": MAIL}}),
    "tag": ("comparisons", {"prompt": "hi", "chosen": "a", "rejected": "b", "category": f"of {MAIL}"}),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_place_of_a_record_is_looked_at(place: str, tmp_path: Path) -> None:
    kind, record = PLACES[place]
    more = {"fields": {"reference": "reference"}} if place == "field" else {}
    found = {}
    for how in ("drop", "mask", "keep"):
        folder = tmp_path / how
        folder.mkdir()
        found[how] = read(folder, [record], kind, personal=how, **more)
    assert counts(found["drop"])["removed/filter/personal_data"] == 1 and found["drop"].records == 0
    masked_, kept = (found[how].line(0).decode() for how in ("mask", "keep"))
    assert counts(found["mask"])["changed/masked"] == 1
    assert MAIL in kept and json.loads(masked_) == json.loads(kept.replace(MAIL, "[EMAIL]"))


def test_nothing_beside_the_texts_changes_without_a_reason(tmp_path: Path) -> None:
    kind, record = PLACES["tool call"]
    record = json.loads(json.dumps(record).replace(MAIL, "me"))
    lines = {}
    for how in ("mask", "keep"):
        (tmp_path / how).mkdir()
        lines[how] = read(tmp_path / how, [record], kind, personal=how).line(0)
    assert lines["mask"] == lines["keep"]
