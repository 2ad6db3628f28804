"""Calls that fail, are kept, and are never paid twice; a key that is nowhere to be found."""

from __future__ import annotations

import errno
import html
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from chat_server import SECRET, ChatServer

from rlhf.errors import EndpointError
from rlhf.evaluation.judges.calls import Cache, Prices
from rlhf.evaluation.judges.endpoint import Endpoint
from rlhf.evaluation.judges.secret import Secret
from rlhf.runs import atomic_write_text

Make = Callable[..., Endpoint]
ONE = [{"role": "user", "content": "one"}]


def asked(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


@pytest.fixture
def waits() -> list[float]:
    """Seconds that the endpoint would have waited."""
    return []


@pytest.fixture
def make(server: ChatServer, tmp_path: Path, waits: list[float]) -> Make:
    def build(**options: Any) -> Endpoint:
        server.reply = str.upper
        settings = {"concurrency": 1, "timeout": 20.0, "sleep": waits.append} | options
        return Endpoint(server.url, "judge", cache=Cache(tmp_path / "cache", atomic_write_text), **settings)

    return build


def test_a_request_is_what_the_interface_says(make: Make, server: ChatServer) -> None:
    make(temperature=0.5, max_tokens=99, extra={"seed": 1, "max_tokens": None}).ask([ONE])
    assert server.requests == [{"model": "judge", "temperature": 0.5, "seed": 1, "messages": ONE}]
    assert "Authorization" not in server.headers[0]


def test_it_tries_again_after_twice_the_wait(make: Make, server: ChatServer, waits: list[float]) -> None:
    server.faults = [500, "malformed", "nothing", 429, 503]
    endpoint = make(backoff=1.0)
    assert endpoint.ask([ONE]) == ["ONE"]
    assert len(server.requests) == 6 and endpoint.used.retries == 5
    for wait, base in zip(waits, [1, 2, 4, 8, 16], strict=True):
        assert 0.75 * base <= wait <= 1.25 * base
    server.faults = [429]
    endpoint.ask(asked("two"))
    assert waits[-1] == 7, "as the server asks, where that is longer"


def test_an_answer_that_does_not_come(make: Make, server: ChatServer) -> None:
    server.faults = ["slow"]
    assert make(timeout=0.3).ask([ONE]) == ["ONE"]
    assert len(server.requests) == 2


def test_nothing_is_asked_twice(make: Make, server: ChatServer) -> None:
    endpoint = make()
    assert endpoint.ask(asked("a", "b", "a")) == ["A", "B", "A"]
    assert len(server.requests) == 2
    again = make()
    assert again.ask(asked("b", "a")) == ["B", "A"] and again.used.cached == 2
    assert len(server.requests) == 2
    make(temperature=1.0).ask(asked("a"))
    assert len(server.requests) == 3, "another request is another question"


def test_a_broken_file_of_the_cache_is_asked_again(make: Make, server: ChatServer) -> None:
    endpoint = make()
    endpoint.ask([ONE])
    endpoint.cache.path(endpoint.digest(ONE)).write_text('{"answer": ')
    assert make().ask([ONE]) == ["ONE"] and len(server.requests) == 2


def test_the_cost_is_known_before(make: Make, server: ChatServer) -> None:
    endpoint = make(max_tokens=100, prices=Prices(2.0, 10.0))
    endpoint.ask(asked("x" * 40))
    estimate = endpoint.estimate(asked("x" * 40, "y" * 40, "y" * 40, "中文" * 10))
    assert (estimate.calls, estimate.cached, estimate.tokens_out) == (2, 1, 200)
    assert estimate.tokens_in == 10 + 15 + 2 * 4
    assert estimate.cost == pytest.approx((33 * 2 + 200 * 10) / 1e6)
    assert str(estimate).startswith(
        "2 calls (1 more are answered already), about 33 tokens in, at most 200 out, at most"
    )
    assert len(server.requests) == 1 and make().estimate(asked("z")).cost is None
    assert (endpoint.used.tokens_in, endpoint.used.tokens_out) == (11, 5)


def test_a_server_that_is_gone_is_left_with_what_it_said(make: Make, server: ChatServer) -> None:
    endpoint = make(retries=1)
    assert endpoint.ask(asked("a", "b")) == ["A", "B"]
    server.always = 503
    with pytest.raises(EndpointError, match=r"failed 3 calls in a row.*status 503"):
        endpoint.ask(asked("a", "b", "c", "d", "e", "f"))
    assert len(server.requests) == 2 + 3 * 2, "it gives up"
    server.always = None
    assert make().ask(asked("a", "b", "c")) == ["A", "B", "C"] and len(server.requests) == 9


def test_what_it_refuses_is_left_out(make: Make, server: ChatServer, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = make()
    server.faults = [400, 422, 413]
    with pytest.raises(EndpointError, match="3 calls in a row"):
        endpoint.ask(asked("a", "b", "c"))
    endpoint = make()
    endpoint.ask(asked("x"))
    server.faults = [400, 422, 413]
    assert endpoint.ask(asked("a", "b", "c", "d")) == [None, None, None, "D"], "it answers others"
    assert endpoint.used.refused == 3 and "status 400" in caplog.text


def test_a_wrong_address(make: Make, server: ChatServer) -> None:
    server.faults = [404]
    with pytest.raises(EndpointError, match="says 404 for model judge"):
        make().ask([ONE])
    make().check()
    server.close()
    with pytest.raises(EndpointError, match=r"evaluation.endpoint.url: .* can't be reached"):
        make().check()


def test_the_key_is_sent_and_never_told(
    make: Make, server: ChatServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.wants = SECRET
    endpoint = make(key=SECRET, retries=0)
    endpoint.check()
    server.reply = lambda text: f"You are {SECRET}."
    assert endpoint.ask([ONE]) == ["You are ***."]
    server.faults = [400, 418]
    endpoint.ask(asked("two"))
    with pytest.raises(EndpointError, match="418") as told:
        endpoint.ask(asked("three"))
    assert "no: Bearer ***" in str(told.value)
    wrong = make(key=f"{SECRET}0")
    for call in (wrong.check, lambda: wrong.ask(asked("four"))):
        with pytest.raises(EndpointError, match="says 401: the key of that variable is not accepted") as told:
            call()
        assert SECRET not in str(told.value)
    with pytest.raises(EndpointError, match="it wants a key, and none is sent"):
        make().check()
    written = "".join(file.read_text() for file in tmp_path.rglob("*.json"))
    assert "You are" in written and SECRET not in written + caplog.text + repr(vars(endpoint.used))
    assert SECRET not in repr(endpoint)


def test_many_at_a_time_keep_their_order(make: Make, server: ChatServer) -> None:
    texts = [f"t{i}" for i in range(60)]
    server.faults = [503] * 10
    seen: list[int] = []
    endpoint = make(concurrency=8, retries=8)
    assert endpoint.ask(asked(*texts), lambda done, total: seen.append(done)) == [text.upper() for text in texts]
    assert seen == list(range(1, 61))
    kept = [json.loads(file.read_text()) for file in endpoint.cache.folder.rglob("*.json")]
    assert {entry["request"]["messages"][0]["content"]: entry["answer"] for entry in kept} == {
        text: text.upper() for text in texts
    }


SAID: dict[str, dict[str, Any] | bytes] = {
    "null": {"choices": [{"message": {"content": None}}]},
    "empty": {"choices": [{"message": {"content": " "}}]},
    "cut off": {"choices": [{"message": {"content": None}, "finish_reason": "length"}]},
    "refusal": {"choices": [{"message": {"content": None, "refusal": "no"}}]},
    "number": {"choices": [{"message": {"content": 7}}]},
}


@pytest.mark.parametrize("name", SAID)
def test_a_completion_without_text_is_paid_twice_at_most(make: Make, server: ChatServer, name: str) -> None:
    said = SAID[name]
    assert isinstance(said, dict)
    server.faults = [{**said, "usage": {"prompt_tokens": 3, "completion_tokens": 2}}] * 6
    endpoint = make()
    assert endpoint.ask([ONE]) == [None]
    used = endpoint.used
    assert (len(server.requests), used.failed, used.tokens_in, used.tokens_out) == (2, 1, 6, 4)


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        ({"message": "too long"}, 1),
        ("too long", 1),
        ({"message": "too long", "code": "context_length_exceeded"}, 1),
        ({"message": "busy", "code": 429}, 6),
        ({"message": "busy", "code": "503"}, 6),
        ({"message": [], "code": True}, 1),
    ],
)
def test_an_error_object_counts_as_its_status(make: Make, server: ChatServer, error: Any, calls: int) -> None:
    server.faults = [{"error": error}, {"choices": [{"error": error}]}] * 3
    assert make().ask([ONE]) == [None]
    assert len(server.requests) == calls


def test_an_error_object_that_takes_no_key(make: Make, server: ChatServer) -> None:
    server.faults = [{"error": {"message": f"bad key {SECRET}", "code": 401}}]
    with pytest.raises(EndpointError, match="key_env"):
        make(key=SECRET).ask([ONE])


@pytest.mark.parametrize(
    "usage", [[], 3, "x", {"prompt_tokens": "5"}, {"prompt_tokens": True}, {"prompt_tokens": 1e99}]
)
def test_a_usage_of_another_type_counts_nothing(make: Make, server: ChatServer, usage: Any) -> None:
    server.faults = [{"choices": [{"message": {"content": "yes"}}], "usage": usage}]
    endpoint = make(prices=Prices(1.0, 1.0))
    assert endpoint.ask([ONE]) == ["yes"] and endpoint.used.tokens_in == 0


def test_content_in_parts_and_halves_of_characters(make: Make, server: ChatServer) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]
    server.faults = [
        {"choices": [{"message": {"content": parts}}]},
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
    ]
    assert make().ask(asked("one", "two")) == ["ab", "\ufffd"]


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b"\xff\xfe", b"[]", b'{"choices": {"0": 1}}', b'{"choices": [[]]}', b"1" * 9999]
)
def test_no_chat_completion_is_asked_again(make: Make, server: ChatServer, body: bytes) -> None:
    server.faults = [body]
    assert make().ask([ONE]) == ["ONE"] and len(server.requests) == 2


def test_a_response_without_end_is_not_read_to_the_end(
    make: Make, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlhf.evaluation.judges.endpoint.LARGEST", 1000)
    server.faults = [b" " * 5000]
    assert make().ask([ONE]) == ["ONE"] and len(server.requests) == 2


@pytest.mark.parametrize("damage", ['{"answer": 3}', '["answer"]', "[" * 100_000, '{"answer": "no"', "\x00", None])
def test_a_damaged_entry_of_the_cache_is_asked_again(make: Make, server: ChatServer, damage: str | None) -> None:
    endpoint = make()
    endpoint.ask([ONE])
    path = endpoint.cache.path(endpoint.digest(ONE))
    path.write_text(path.read_text().replace('"ONE"', '"TWO"') if damage is None else damage)
    assert make().ask([ONE]) == ["ONE"] and len(server.requests) == 2


def test_an_entry_of_an_older_cache_is_still_good(make: Make, server: ChatServer) -> None:
    endpoint = make()
    path = endpoint.cache.path(endpoint.digest(ONE))
    path.parent.mkdir(parents=True)
    path.write_text('{"answer": "old"}')
    assert make().ask([ONE]) == ["old"] and server.requests == []


@pytest.mark.parametrize("key", ['sk-"q\\u/é&<', "sk-plain", "a+b=c/d=="])
def test_a_key_is_found_however_it_is_written(key: str) -> None:
    secret = Secret(key)
    forms = [key, json.dumps(key)[1:-1], json.dumps(json.dumps(key)), json.dumps(key, ensure_ascii=False)[1:-1]]
    forms += [quote(key, safe=""), quote(key), html.escape(key), repr(key)[1:-1], key.replace("/", "\\/")]
    for form in forms:
        assert secret.taken_out(f"Bearer {form}!") == "Bearer ***!" or form.startswith('"'), form
        assert key not in secret.taken_out(form) and "***" in secret.taken_out(form)
    assert secret.taken_out("sk-other") == "sk-other"
    assert Secret(None).taken_out(key) == key


def test_a_full_disk_ends_no_run(
    make: Make, server: ChatServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is there; that it will be asked again is said once."""

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    endpoint = make()
    endpoint.cache.write = full
    assert endpoint.ask(asked("one", "two")) == ["ONE", "TWO"]
    (record,) = caplog.records
    assert "evaluation.endpoint.cache" in record.getMessage() and "no space is left on the disk" in record.getMessage()
    (tmp_path / "cache").rename(tmp_path / "other")
    (tmp_path / "cache").write_text("no folder")
    assert make().ask([ONE]) == ["ONE"] and len(server.requests) == 3
