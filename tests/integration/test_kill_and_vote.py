"""Kill the page's server again and again while votes are sent to it; none may be lost, and none may count twice.

    pytest -m slow tests/integration/test_kill_and_vote.py

A real server (`python label.py`) is killed by SIGKILL at random moments and started again, by which time the annotators
have got no answer to what they sent last, and send it again. At the end each annotator must have answered each question
once, every answer that was acknowledged must be in the file as it was given, and the training data must have as many
records.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("uvicorn", reason="the page needs Uvicorn: pip install -e '.[web]'")

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds in which a server must have started."""


@dataclass
class Annotator:
    """Somebody who votes until there is nothing left; what was acknowledged is remembered."""

    name: str
    base: str
    seed: int
    acknowledged: dict[int, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    retries: int = 0
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self._vote()
        except BaseException as error:
            self.error = error

    def _vote(self) -> None:
        drawn = random.Random(self.seed)
        with httpx.Client(base_url=self.base, timeout=30, trust_env=False) as client:
            state = self._ask(client, "GET", "/api/state", params={"annotator": self.name})
            while (question := state["question"]) is not None:
                ranks = drawn.choice(((1, 2), (2, 1), (1, 1)))
                turn = state["turn"]
                vote = {"annotator": self.name, "turn": turn, "question": question["id"], "ranks": ranks}
                state = self._ask(client, "POST", "/api/vote", json=vote)
                # Where the first try had reached the disk, the second one is told that the turn is over.
                self.acknowledged[turn] = question["id"], ranks
                assert state["turn"] == turn + 1, state

    def _ask(self, client: httpx.Client, method: str, path: str, **what: Any) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                answer = client.request(method, path, **what)
                if answer.status_code not in (200, 409):
                    raise AssertionError(f"{answer.status_code}: {answer.text}")
                found: dict[str, Any] = answer.json()
                return found
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
                self.retries += 1
                time.sleep(0.05)


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A server, in a process of its own."""
    command = [sys.executable, str(ROOT / "label.py"), "path=questions.jsonl", "out=votes", f"port={port}"]
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def measure(votes: int, kills: int, people: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run it; returns what was counted.

    Raises:
        AssertionError: a vote was lost, changed or doubled.
    """
    questions = votes // people
    lines = [{"prompt": f"question {i}", "responses": [f"x {i}", f"y {i}"]} for i in range(questions)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    port = free_port()
    annotators = [Annotator(f"annotator {i}", f"http://127.0.0.1:{port}", seed + i) for i in range(people)]
    threads = [threading.Thread(target=one.run, daemon=True) for one in annotators]
    began = time.monotonic()
    server = start(folder, port)
    for thread in threads:
        thread.start()
    # A kill after each equal share of the votes, wherever the server is in its work at that moment.
    for kill in range(1, kills + 1):
        wanted = kill * questions * people // (kills + 1)
        while sum(len(one.acknowledged) for one in annotators) < wanted and any(t.is_alive() for t in threads):
            time.sleep(0.002)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server = start(folder, port)
    for thread in threads:
        thread.join()
    server.send_signal(signal.SIGINT)
    server.wait(timeout=PATIENCE)
    errors = [one.error for one in annotators if one.error is not None]
    assert not errors, errors
    found = check(folder, annotators, questions)
    return {
        **found,
        "kills": kills,
        "retries": sum(one.retries for one in annotators),
        "seconds": time.monotonic() - began,
    }


def check(folder: Path, annotators: list[Annotator], questions: int) -> dict[str, Any]:
    """Compare the file with what was acknowledged."""
    torn, logged = 0, []
    for line in (folder / "votes" / "votes.jsonl").read_text(encoding="utf-8").split("\n"):
        try:
            logged += [json.loads(line)] if line else []
        except ValueError:
            torn += 1
    counts = Counter((line["annotator"], line["question"]) for line in logged)
    assert len(counts) == len(annotators) * questions, "a vote was lost"
    assert set(counts.values()) == {1}, "a vote counts twice"
    by_turn = {(line["annotator"], line["turn"]): line for line in logged}
    for one in annotators:
        for turn, (question, ranks) in one.acknowledged.items():
            line = by_turn[one.name, turn]
            given = [0] * len(ranks)
            for place, rank in zip(line["shown"], ranks, strict=True):
                given[place] = rank
            assert line["question"] == question and line["ranks"] == given, "a vote was changed"
    data = (folder / "votes" / "comparisons.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(data) == len(logged), "the training data has other votes than the log"
    return {"votes": len(logged), "acknowledged": sum(len(one.acknowledged) for one in annotators), "torn_lines": torn}


@pytest.mark.parametrize(
    ("votes", "kills"),
    [pytest.param(100, 2, marks=pytest.mark.ci), pytest.param(10_000, 20, marks=pytest.mark.slow)],
)
def test_no_vote_is_lost_and_none_counts_twice(tmp_path: Path, votes: int, kills: int) -> None:
    found = measure(votes, kills, people=4, seed=1, folder=tmp_path)
    assert (found["votes"], found["acknowledged"]) == (votes, votes) and found["retries"] >= kills
