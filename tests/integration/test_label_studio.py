"""label.py with a real Label Studio, which `tests/integration/label_studio.sh` installs.

    LABEL_STUDIO=FOLDER/bin/label-studio pytest -n 0 tests/integration/test_label_studio.py

The server listens on 127.0.0.1 and keeps everything in a temporary folder. Two people annotate by its API.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

LABEL_STUDIO = os.environ.get("LABEL_STUDIO")
pytestmark = pytest.mark.skipif(
    LABEL_STUDIO is None, reason="LABEL_STUDIO names no server; tests/integration/label_studio.sh installs one"
)
ROOT = Path(__file__).parents[2]
PATIENCE = 300.0
"""Seconds in which the server must answer; it makes its database first."""
ADA, BOB = "a" * 40, "b" * 40
HTML = '<script>alert("1")</script> <b>bold</b> & $prompt\n  '


class Studio:
    """The server, as somebody with a token sees it."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Token {token}"}, timeout=60)

    def ask(self, method: str, address: str, body: Any = None, **params: Any) -> Any:
        answer = self.client.request(method, address, json=body, params=params)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def tasks(self, project: int) -> list[dict[str, Any]]:
        return self.ask("GET", "/api/tasks/", project=project, page_size=1000, fields="all")["tasks"]

    def project(self, title: str) -> int:
        (found,) = [one for one in self.ask("GET", "/api/projects/")["results"] if one["title"] == title]
        return found["id"]

    def annotate(self, task: dict[str, Any], result: list[dict[str, Any]], **fields: Any) -> int:
        made = self.ask("POST", f"/api/tasks/{task['id']}/annotations/", {"result": result, **fields})
        return made["id"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, Studio]]:
    """Ada and Bob at one server."""
    folder = tmp_path_factory.mktemp("label-studio")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        "SENTRY_DSN": "",
        "PYTHONPATH": "",
    }

    def command(verb: str, *more: str, name: str, token: str) -> list[str]:
        person = ["--username", f"{name}@example.test", "--password", "correct horse", "--user-token", token]
        return [str(LABEL_STUDIO), verb, *more, *person, "--no-browser", "--enable-legacy-api-token"]

    run = {"env": environment, "cwd": folder, "stdin": subprocess.DEVNULL}
    with (folder / "server.log").open("ab") as log:
        first = command("init", "first", name="bob", token=BOB)
        assert subprocess.run(first, stdout=log, stderr=log, timeout=PATIENCE, check=False, **run).returncode == 0, (
            folder / "server.log"
        ).read_text()
        start = [*command("start", name="ada", token=ADA), "--port", str(port), "--internal-host", "127.0.0.1"]
        process = subprocess.Popen(start, stdout=log, stderr=log, start_new_session=True, **run)
        url = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + PATIENCE
            while True:
                assert process.poll() is None and time.monotonic() < until, (folder / "server.log").read_text()
                try:
                    if httpx.get(f"{url}/health", timeout=10).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.5)
            yield Studio(url, ADA), Studio(url, BOB)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def label(folder: Path, url: str, *more: str, token: str = ADA, code: int = 0) -> str:
    """Run it; returns what it printed."""
    command = [sys.executable, str(ROOT / "label.py"), "tool=label-studio", f"url={url}", "path=a.jsonl", "out=votes"]
    environment = {**os.environ, "LABEL_STUDIO_API_KEY": token}
    done = subprocess.run([*command, *more], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert token not in done.stdout + done.stderr
    print(done.stdout + done.stderr)
    return done.stdout + done.stderr


def standing(folder: Path) -> list[tuple[str, str, str, Any]]:
    """Event, annotator, prompt, and ranks by answer, of the votes that count."""
    lines = [json.loads(line) for line in (folder / "votes" / "votes.jsonl").read_text(encoding="utf-8").splitlines()]
    undone = {(line["annotator"], line["undone"]) for line in lines if line["event"] == "undo"}
    found = []
    for line in lines:
        if line["event"] != "undo" and (line["annotator"], line["turn"]) not in undone:
            ranks = line.get("ranks")
            said = None if ranks is None else dict(zip(line["responses"], ranks, strict=True))
            found.append((line["event"], line["annotator"], line["prompt"], said))
    return sorted(found, key=str)


def better(task: dict[str, Any], text: str) -> list[dict[str, Any]]:
    side = "left" if task["data"]["answer1"] == text else "right"
    return [{"from_name": "better", "to_name": "better", "type": "pairwise", "value": {"selected": side}}]


TIED = [{"from_name": "tie", "to_name": "prompt", "type": "choices", "value": {"choices": ["tie"]}}]


def test_there_and_back(server: tuple[Studio, Studio], tmp_path: Path) -> None:
    ada, bob = server
    pairs = {f"question {i}?": [f"good {i}", f"bad {i}"] for i in range(4)} | {HTML: [HTML, f"{HTML}2"]}
    lines = [{"prompt": name, "responses": answers} for name, answers in pairs.items()]
    lines.append({"prompt": "Rank these", "responses": ["A", "B", "C"]})
    questions = tmp_path / "a.jsonl"
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    # There: two projects, each question once.
    label(tmp_path, ada.url)
    first, second = ada.project("votes pairs"), ada.project("votes ranking")
    tasks = {task["data"]["prompt"]: task for task in ada.tasks(first)}
    assert set(tasks) == set(pairs) and len(ada.tasks(first)) == 5
    assert sorted((tasks[HTML]["data"]["answer1"], tasks[HTML]["data"]["answer2"])) == sorted(pairs[HTML])
    (ranking,) = ada.tasks(second)
    label(tmp_path, ada.url)
    assert (len(ada.tasks(first)), len(ada.tasks(second))) == (5, 1), "a second time sends nothing"

    # Two people annotate, one of them by another token.
    q = [tasks[f"question {i}?"] for i in range(4)]
    ada.annotate(q[0], better(q[0], "good 0"))
    bob.annotate(q[0], better(q[0], "bad 0"))
    ada.annotate(q[1], TIED)
    bob.annotate(q[1], [], was_cancelled=True)
    changed = ada.annotate(q[2], better(q[2], "bad 2"))
    ada.annotate(tasks[HTML], better(tasks[HTML], HTML))
    ids = {item["body"]: item["id"] for item in ranking["data"]["items"]}
    order = {"ranker": {"rank": [ids[text] for text in "BAC"]}}
    bob.annotate(ranking, [{"from_name": "rank", "to_name": "answers", "type": "ranker", "value": order}])

    # Back.
    said = label(tmp_path, ada.url)
    expected = [
        ("skip", "bob", "question 1?", None),
        ("vote", "ada", HTML, {HTML: 1, f"{HTML}2": 2}),
        ("vote", "ada", "question 0?", {"good 0": 1, "bad 0": 2}),
        ("vote", "ada", "question 1?", {"good 1": 1, "bad 1": 1}),
        ("vote", "ada", "question 2?", {"good 2": 2, "bad 2": 1}),
        ("vote", "bob", "Rank these", {"A": 2, "B": 1, "C": 3}),
        ("vote", "bob", "question 0?", {"good 0": 2, "bad 0": 1}),
    ]
    assert standing(tmp_path) == sorted(expected, key=str)
    assert "6 votes and 1 skips by 2 people" in said and "who differ about 1" in said
    before = (tmp_path / "votes" / "votes.jsonl").read_bytes()
    label(tmp_path, ada.url)
    assert (tmp_path / "votes" / "votes.jsonl").read_bytes() == before, "a second time takes nothing"

    # A changed mind, a deleted annotation, a changed question; by a personal access token.
    ada.ask("PATCH", f"/api/annotations/{changed}/", {"result": better(q[2], "good 2")})
    expected[4] = ("vote", "ada", "question 2?", {"good 2": 1, "bad 2": 2})
    gone = bob.annotate(q[3], better(q[3], "good 3"))
    label(tmp_path, ada.url)
    assert len(standing(tmp_path)) == 8
    bob.ask("DELETE", f"/api/annotations/{gone}/")
    questions.write_text(questions.read_text(encoding="utf-8").replace("bad 3", "worse 3"), encoding="utf-8")
    personal = ada.ask("POST", "/api/token/", {})["token"]
    assert personal.count(".") == 2
    label(tmp_path, ada.url, token=personal)
    assert standing(tmp_path) == sorted(expected, key=str)
    assert len(ada.tasks(first)) == 6, "a changed question is a new one"

    # What it becomes.
    options = ["algo=reward", "data=jsonl", "data.path=votes/comparisons.jsonl", "logger=csv", "model=tiny"]
    options += ["model.init=random", "train.max_steps=2", "train.val_every=null"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *options], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (summary,) = (tmp_path / "outputs").glob("reward/*/*/summary.json")
    found = json.loads(summary.read_text(encoding="utf-8"))
    assert (found["status"], found["steps"]) == ("finished", 2)

    # What is deleted there is said, and takes no vote back.
    ada.ask("DELETE", f"/api/tasks/{q[0]['id']}/")
    assert "1 tasks were deleted there" in label(tmp_path, ada.url)
    assert standing(tmp_path) == sorted(expected, key=str)
    ada.ask("DELETE", f"/api/projects/{first}/")
    assert label(tmp_path, ada.url, code=2).splitlines()[-1].startswith("project: ")


def test_more_than_a_page_of_tasks(server: tuple[Studio, Studio], tmp_path: Path) -> None:
    """Sent in two parts and read in three."""
    ada, bob = server
    lines = [{"prompt": f"question {i}?", "responses": [f"good {i}", f"bad {i}"]} for i in range(230)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for _ in range(2):
        label(tmp_path, ada.url, "project=many")
        tasks = ada.tasks(ada.project("many pairs"))
        assert sorted(task["data"]["prompt"] for task in tasks) == sorted(line["prompt"] for line in lines)
    for task in tasks[::100]:
        bob.annotate(task, TIED)
    label(tmp_path, ada.url, "project=many")
    assert sorted(prompt for _, _, prompt, _ in standing(tmp_path)) == sorted(t["data"]["prompt"] for t in tasks[::100])


def test_what_is_refused(server: tuple[Studio, Studio], tmp_path: Path) -> None:
    ada, _ = server
    (tmp_path / "a.jsonl").write_text('{"prompt": "q", "responses": ["x", "y"]}\n')
    for token in ("c" * 40, "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"):
        assert label(tmp_path, ada.url, token=token, code=2).startswith("key_env: ")
    assert label(tmp_path, "http://127.0.0.1:1", code=2).startswith("url: ")
    other = '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="x"/></Choices></View>'
    ada.ask("POST", "/api/projects/", {"title": "taken pairs", "label_config": other})
    assert label(tmp_path, ada.url, "project=taken", code=2).splitlines()[-1].startswith("project: ")
