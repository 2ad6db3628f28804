"""The server's routes over a tiny random model."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the server needs Starlette: pip install -e '.[web]'")
pytest.importorskip("uvicorn", reason="the server needs Uvicorn: pip install -e '.[web]'")
from starlette.testclient import TestClient

from rlhf.config import ServeConfig
from rlhf.data.records import Prompt
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.rollout.uniforms import EVALUATE
from rlhf.runs.parents import from_given
from verbs.serve.app import LARGEST, Served, build_app
from verbs.serve.batches import Ended, Full, number_of
from verbs.serve.serve import load_served

BASE = "http://127.0.0.1:8000"
TOKEN = "a-token-of-sixteen-characters"
URL = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Where is the apple?"}]


def served_of(folder: Path, **more: Any) -> Served:
    config = ServeConfig(**more)
    config.strategy.threads, config.rollout.max_new_tokens, config.rollout.max_rows = 1, 12, 16
    return load_served(config, from_given("model.init", str(folder)))


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[Served]:
    found = served_of(models / "a")
    yield found
    found.batches.end()


@pytest.fixture
def client(served: Served) -> TestClient:
    return TestClient(build_app(served), base_url=BASE)


def ask(client: TestClient, **more: Any) -> dict[str, Any]:
    answer = client.post(URL, json={"messages": MESSAGES, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_answer_is_what_the_sampler_draws(client: TestClient, served: Served) -> None:
    found = ask(client, model=served.name, seed=5, n=2, max_tokens=9, temperature=0.8)
    loaded = served.loaded
    tokens = loaded.template.prompt(Prompt.of(MESSAGES[0]["content"])).ids
    drawn = TorchSampler(loaded.policy, loaded.template.stop_ids).sample(
        [Request(number_of(5, tokens), tokens)],
        Sampling(9, 0.8, samples_per_prompt=2),
        seed=1,
        iteration=0,
        stream=EVALUATE,
    )
    assert [choice["index"] for choice in found["choices"]] == [0, 1]
    for choice, completion in zip(found["choices"], drawn, strict=True):
        assert choice["message"]["role"] == "assistant"
        text = loaded.template.parse(completion.tokens)
        # A character that never gets complete is left out.
        assert choice["message"]["content"].rstrip("\ufffd") == text.rstrip("\ufffd")
        assert choice["finish_reason"] == ("stop" if completion.finished else "length")
    written = sum(len(completion.tokens) for completion in drawn)
    expected = {"prompt_tokens": len(tokens), "completion_tokens": written, "total_tokens": len(tokens) + written}
    assert found["usage"] == expected
    assert (found["object"], found["model"]) == ("chat.completion", served.name)


def test_the_same_seed_says_the_same_whatever_is_asked_beside_it(client: TestClient) -> None:
    alone = [ask(client, seed=seed)["choices"] for seed in range(6)]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda seed: ask(client, seed=seed % 6)["choices"], range(12)))
    assert together == alone * 2
    assert len({json.dumps(choices) for choices in alone}) > 3, "different seeds say different things"
    unseeded = {json.dumps(ask(client)["choices"]) for _ in range(4)}
    assert len(unseeded) > 1, "without a seed, asking again is drawing again"


def test_a_stream_says_what_an_answer_says(client: TestClient) -> None:
    asked = {"seed": 3, "n": 2, "max_tokens": 20, "stop": ["e"]}
    whole = ask(client, **asked)
    body = {"messages": MESSAGES, **asked, "stream": True, "stream_options": {"include_usage": True}}
    answer = client.post(URL, json=body)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    *events, last, nothing = answer.text.split("\n\n")
    assert (last, nothing) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    texts, reasons = ["", ""], ["", ""]
    for chunk in chunks[:-1]:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "")
        reasons[choice["index"]] = choice["finish_reason"] or reasons[choice["index"]]
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert reasons == [choice["finish_reason"] for choice in whole["choices"]]
    assert chunks[-1]["usage"] == whole["usage"] and chunks[-1]["choices"] == []
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_a_stop_ends_the_text_and_is_no_part_of_it(client: TestClient) -> None:
    whole = ask(client, seed=4, max_tokens=30)["choices"][0]["message"]["content"]
    middle = whole[len(whole) // 2]
    choice = ask(client, seed=4, max_tokens=30, stop=middle)["choices"][0]
    assert choice["message"]["content"] == whole.split(middle)[0] and choice["finish_reason"] == "stop"


def test_a_conversation_that_does_not_fit_is_refused_and_none_is_cut(client: TestClient, served: Served) -> None:
    room = served.loaded.max_length
    long = [{"role": "user", "content": "apple " * room}]
    answer = client.post(URL, json={"messages": long})
    error = answer.json()["error"]
    assert answer.status_code == 400 and (error["param"], error["code"]) == ("messages", "context_length_exceeded")
    assert f"{room:,}" in error["message"]
    # An answer ends where the context does.
    most = ask(client, max_tokens=10_000, seed=1)
    assert most["usage"]["total_tokens"] <= room


def test_models(client: TestClient, served: Served) -> None:
    (found,) = client.get("/v1/models").json()["data"]
    assert (found["id"], found["object"], found["max_model_len"]) == (served.name, "model", 128)
    assert client.get(f"/v1/models/{served.name}").json() == found
    assert client.get("/v1/models/other").status_code == 404


def test_a_name_changes_with_everything_that_answers_depend_on(served: Served, models: Path) -> None:
    """Judges cache answers by it."""
    others = [served_of(models / "a", seed=2), served_of(models / "b"), served_of(models / "a", max_length=64)]
    same = served_of(models / "a")
    assert same.name == served.name and served.name.startswith("a-")
    assert len({served.name, *(other.name for other in others)}) == 4
    for other in (*others, same):
        other.batches.end()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 5000 + b"}", 400),
        (b'"' + b"x" * LARGEST + b'"', 413),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bodies_that_are_no_requests(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post(URL, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"] and error["type"] == "invalid_request_error"


def test_errors_are_objects_whatever_they_are_about(client: TestClient) -> None:
    answers = {
        404: client.get("/v1/embeddings"),
        405: client.get(URL),
        415: client.post(URL, content="{}", headers={"content-type": "text/plain"}),
        403: client.post(URL, json={"messages": MESSAGES}, headers={"origin": "http://evil.example"}),
    }
    for status, answer in answers.items():
        assert answer.status_code == status and answer.json()["error"]["message"]


@pytest.mark.parametrize(("error", "status"), [(Full("no"), 429), (Ended("no"), 503)])
@pytest.mark.parametrize("stream", [False, True])
def test_no_room_and_no_time(
    client: TestClient, served: Served, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, stream: bool
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(served.batches, "submit", refuse)
    assert client.post(URL, json={"messages": MESSAGES, "stream": stream}).status_code == status


def test_a_model_that_fails_says_so(
    client: TestClient, served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(served.batches.sampler, "sample", fail)
    answer = client.post(URL, json={"messages": MESSAGES})
    assert answer.status_code == 500 and "out of memory" in answer.json()["error"]["message"]
    streamed = client.post(URL, json={"messages": MESSAGES, "stream": True})
    assert "out of memory" in streamed.text and "[DONE]" not in streamed.text
    assert "Traceback" not in caplog.text


def test_a_token_where_others_can_reach_the_server(served: Served) -> None:
    client = TestClient(build_app(served, "0.0.0.0", TOKEN), base_url="http://lab.example:8000")
    refused = client.get("/v1/models")
    assert refused.status_code == 401 and refused.json()["error"]["message"]
    assert client.get("/v1/models", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert TestClient(build_app(served), base_url="http://evil.example").get("/v1/models").status_code == 403


@pytest.mark.parametrize("stream", [False, True])
def test_for_a_client_that_hangs_up_nothing_more_is_sampled(
    serving: Callable[[Served], AbstractContextManager[str]], models: Path, stream: bool
) -> None:
    """Clients ask again after a while; what they asked before would keep the model busy for nobody."""
    found = served_of(models / "a")
    begun, ended, pause = threading.Event(), threading.Event(), threading.Event()

    def endless(*_: Any, watch: Callable[[int, int, int], None], **__: Any) -> None:
        begun.set()
        try:
            while not pause.wait(0.01):
                watch(0, 0, 5)
        finally:
            ended.set()

    found.batches.sampler.sample = endless  # type: ignore[assignment, method-assign]
    with serving(found) as url:
        body = json.dumps({"messages": MESSAGES, "stream": stream}).encode()
        head = f"POST {URL} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        port = int(url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert begun.wait(20)
        assert ended.wait(20)
    pause.set()
