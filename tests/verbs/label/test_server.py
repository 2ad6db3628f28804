"""What the server answers, and to whom."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the page needs Starlette: pip install -e '.[web]'")
pytest.importorskip("uvicorn", reason="the page needs Uvicorn: pip install -e '.[web]'")
from starlette.testclient import TestClient

from rlhf.data.records import Prompt
from rlhf.errors import ConfigError
from rlhf.labelling.arena import Arena
from rlhf.labelling.desk import Desk
from rlhf.labelling.questions import make_question
from rlhf.labelling.vote_log import VoteLog, read_votes
from verbs.label.server import build_app
from verbs.web.listening import Server, listen, serve

BASE = "http://127.0.0.1:7860"
TOKEN = "a-token-of-sixteen-characters"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    log = VoteLog(tmp_path)
    yield Desk([make_question("pairs", Prompt.of(f"q{i}"), ("a", "b")) for i in range(3)], log, seed=1)
    log.close()


@pytest.fixture
def client(desk: Desk) -> TestClient:
    return TestClient(build_app(desk, "zh"), base_url=BASE)


def first(client: TestClient, **more: Any) -> dict[str, Any]:
    """A vote on what ada is shown."""
    state = client.get("/api/state", params={"annotator": "ada"}).json()
    return {"annotator": "ada", "turn": state["turn"], "question": state["question"]["id"], "ranks": [1, 2], **more}


def test_a_vote_and_what_comes_next(client: TestClient, desk: Desk) -> None:
    answer = client.post("/api/vote", json=first(client))
    assert answer.status_code == 200 and (answer.json()["turn"], answer.json()["done"]) == (1, 1)
    assert len(read_votes(desk.log.path)) == 1
    assert client.post("/api/skip", json=first(client)).json()["done"] == 2
    assert client.post("/api/undo", json={"annotator": "ada", "turn": 2}).json()["done"] == 1


def test_what_comes_too_late_is_told_with_the_state_of_now(client: TestClient, desk: Desk) -> None:
    asked = first(client)
    client.post("/api/vote", json=asked)
    again = client.post("/api/vote", json=asked)
    assert (
        again.status_code == 409 and again.json()["done"] == 1 and again.json()["question"]["id"] != asked["question"]
    )
    assert len(read_votes(desk.log.path)) == 1


@pytest.mark.parametrize(
    "change",
    [{"ranks": [1, 2, 3]}, {"ranks": "12"}, {"turn": "0"}, {"turn": True}, {"annotator": " "}, {"comment": "\ud800"}],
    ids=str,
)
def test_nonsense_is_refused(client: TestClient, desk: Desk, change: dict[str, Any]) -> None:
    import json

    body = json.dumps(first(client) | change)
    answer = client.post("/api/vote", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"]
    assert read_votes(desk.log.path) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'"' + b"x" * 300_000 + b'"'])
def test_bodies_that_are_no_requests(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/vote", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_a_full_disk_is_no_vote(client: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    asked = first(client)
    monkeypatch.setattr(desk.log, "append", full)
    answer = client.post("/api/vote", json=asked)
    assert answer.status_code == 507 and answer.json()["done"] == 0
    monkeypatch.undo()
    assert client.post("/api/vote", json=asked).json()["done"] == 1


def test_other_sites_and_other_names_are_refused(client: TestClient, desk: Desk) -> None:
    asked = first(client)
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client.post("/api/vote", json=asked, headers={"origin": "http://evil.example"}).status_code == 403
    # What a form can send from anywhere, without asking first.
    plain = client.post("/api/vote", content=str(asked), headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    assert client.post("/api/vote", json=asked, headers={"origin": BASE}).status_code == 200
    for name in ("localhost", "localhost:7860", "[::1]:7860", "127.0.0.1"):
        assert client.get("/", headers={"host": name}).status_code == 200


@pytest.mark.parametrize("headers", [{"host": "["}, {"origin": "http://["}, {"host": "[::1"}], ids=str)
def test_addresses_that_are_none(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/", headers=headers).status_code == 400


def test_nothing_of_elsewhere_is_loaded(client: TestClient) -> None:
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"] and 'lang="zh"' in page.text
    for name in ("/", "/page.js", "/words.js", "/page.css"):
        text = client.get(name).text
        assert "http://" not in text and "https://" not in text and "innerHTML" not in text


def test_a_token_where_others_can_reach_the_page(desk: Desk) -> None:
    app = build_app(desk, host="0.0.0.0", token=TOKEN)
    client = TestClient(app, base_url="http://lab.example:7860", follow_redirects=False)
    assert client.get("/").status_code == 401
    assert client.get("/api/state", params={"annotator": "ada"}).status_code == 401
    assert client.get("/", params={"token": TOKEN[:-1]}).status_code == 401
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/state", params={"annotator": "ada"}, headers=bearer).status_code == 200
    opened = client.get("/", params={"token": TOKEN, "annotator": "ada"})
    assert opened.status_code == 303 and opened.headers["location"] == "/?annotator=ada"
    assert "HttpOnly" in opened.headers["set-cookie"] and "samesite=lax" in opened.headers["set-cookie"].lower()
    assert client.post("/api/vote", json=first(client)).status_code == 200
    assert TestClient(app, base_url="http://lab.example:7860").post("/api/vote", json={}).status_code == 401


def test_behind_a_proxy_of_another_name(desk: Desk) -> None:
    client = TestClient(build_app(desk, token=TOKEN), base_url="https://lab.example")
    assert client.get("/").status_code == 401
    client.get("/", params={"token": TOKEN})
    assert client.post("/api/vote", json=first(client), headers={"origin": "https://lab.example"}).status_code == 200


def test_a_window_that_is_closed_while_it_sends(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no error of the server, and keeps it from ending no longer than `SENDING`."""
    found: list[Server] = []

    class Recorded(Server):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            found.append(self)

    raised: list[BaseException] = []
    app = build_app(desk)

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        try:
            await app(scope, receive, send)
        except Exception as error:
            raised.append(error)
        finally:
            done.set()

    begun, done = threading.Event(), threading.Event()
    monkeypatch.setattr("verbs.web.listening.Server", Recorded)
    monkeypatch.setattr("verbs.web.bodies.SENDING", 0.1)
    at = listen("127.0.0.1", 0)
    worker = threading.Thread(target=serve, args=(watched, at), daemon=True)
    worker.start()
    half = b"POST /api/vote HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"

    def send_half() -> socket.socket:
        begun.clear()
        done.clear()
        while True:
            try:
                window = socket.create_connection(at.getsockname())
            except ConnectionRefusedError:  # it does not listen yet
                continue
            window.sendall(half)
            assert begun.wait(10)
            return window

    send_half().close()
    assert done.wait(10) and raised == []
    with send_half():
        found[0].should_exit = True
        worker.join(10)
        assert not worker.is_alive()
    at.close()


def test_places_that_can_not_be_had() -> None:
    at = listen("127.0.0.1", 0)
    at.listen()
    with pytest.raises(ConfigError, match=r"^port: "):
        listen("127.0.0.1", at.getsockname()[1])
    at.close()
    with pytest.raises(ConfigError, match=r"^host: "):
        listen("192.0.2.1", 0)


def test_what_models_say_comes_piece_by_piece(tmp_path: Path) -> None:
    import json

    log = VoteLog(tmp_path)

    def answer(model: int, prompt: Prompt, annotator: str, number: int) -> list[str]:
        return ["ab"[model], " \x1b"]

    client = TestClient(build_app(Arena(answer, ("x", "y"), log, 1)), base_url=BASE)
    asked = {"annotator": "ada", "turn": 0, "text": "q"}
    *pieces, state = map(json.loads, client.post("/api/say", json=asked).text.splitlines())
    assert [piece["place"] for piece in pieces] == [0, 0, 1, 1]
    assert pieces[1]["piece"] == " \\x1b" and state["status"] == 200
    assert [text[0] for text in state["question"]["responses"]] == [pieces[0]["piece"], pieces[2]["piece"]]
    (refused,) = map(json.loads, client.post("/api/say", json=asked).text.splitlines())
    assert refused["status"] == 400 and refused["error"] and refused["question"] == state["question"]
    (late,) = map(json.loads, client.post("/api/say", json={**asked, "turn": 7}).text.splitlines())
    assert late["status"] == 409
    assert client.post("/api/say", json={"annotator": 3}).status_code == 400
    log.close()
