"""`collect.py collect.annotator=endpoint`: what it costs, what it says, and what happens when it stops in between."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import SECRET, ChatServer, fenced

from collect import collect
from rlhf.config import CollectConfig, plain, validate
from rlhf.data.readers import read
from rlhf.data.records import Ranking
from rlhf.errors import ConfigError
from rlhf.runs import Summary, run_id

ROOT = Path(__file__).parents[2]
PROMPTS = ["Write a poem.", "Sing a song.", "Tell a joke.", "Say it.", "Go.", "Why not?"]
Main = Callable[..., int]


def config(**changes: Any) -> CollectConfig:
    found = CollectConfig()
    found.data.source = "assistant"
    for name, value in changes.items():
        section, _, key = name.partition("__")
        setattr(getattr(found.collect, section) if key else found.collect, key or name, value)
    return found


URL = {"annotator": "endpoint", "endpoint__url": "http://localhost:1/v1", "endpoint__model": "m"}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"annotator": "endpoint"}, "collect.endpoint.url"),
        ({**URL, "endpoint__model": None}, "collect.endpoint.model"),
        ({**URL, "annotator": "auto"}, "collect.endpoint.url"),
        ({**URL, "endpoint__key_env": "sk-123"}, "collect.endpoint.key_env"),
        ({**URL, "endpoint__max_cost": 1.0}, "collect.endpoint.max_cost"),
        ({"rubric": __file__}, "collect.rubric"),
        ({**URL, "rubric": "nowhere.txt"}, "collect.rubric"),
        ({**URL, "rubric": __file__, "endpoint__mode": "scores"}, "collect.rubric"),
        ({**URL, "rubric": __file__, "endpoint__prompts": str(ROOT)}, "collect.rubric"),
    ],
    ids=str,
)
def test_refusals(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(key)}: "):
        validate(config(**changes))


def test_keys_that_came_later_change_no_identity() -> None:
    content = plain(config())
    before = {**content, "collect": {k: v for k, v in content["collect"].items() if k not in ("endpoint", "rubric")}}
    assert run_id(content, {}) == run_id(before, {}) != run_id(plain(config(**URL)), {})


def line(models: Path, server: ChatServer, out: str = "out") -> list[str]:
    own = f"data=jsonl data.path=prompts.txt data.val_fraction=0 data.test_fraction=0 model.init={models}/a"
    quick = f"rollout.max_new_tokens=6 collect.samples=3 strategy.threads=1 hydra.run.dir={out}"
    asks = f"collect.annotator=endpoint collect.endpoint.url={server.url} collect.endpoint.model=small"
    return f"{own} {quick} {asks} collect.endpoint.key_env=JUDGE_KEY collect.endpoint.backoff=0".split()


@pytest.fixture
def main(models: Path, server: ChatServer, program_folder: Path) -> Main:
    """`main("collect.rubric=rules.txt", out="b")` collects in an empty folder."""
    (program_folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    return lambda more="", out="out": collect.main([*line(models, server, out), *more.split()])


def records(out: str = "out") -> list[dict[str, Any]]:
    text = Path(out, "preferences.jsonl").read_text(encoding="utf-8")
    return [json.loads(found) for found in text.splitlines()]


def asked_of(server: ChatServer) -> list[str]:
    return [json.dumps(request["messages"]) for request in server.requests]


@pytest.mark.ci
def test_an_endpoint_ranks(main: Main, server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Shorter answers win; the cost is told beforehand; another run asks nothing again."""
    server.faults = [503, "malformed"]
    prices = "collect.endpoint.price_in=1 collect.endpoint.price_out=2"
    assert main(prices) == 0
    said, found = capsys.readouterr(), records()
    calls = sum(n * (n - 1) for n in (len(record["responses"]) for record in found))
    told = re.search(
        r"judge small at \S+: (\d+) calls \(0 more are answered already\), about .* by the prices", said.out
    )
    assert told is not None and int(told[1]) == calls == len(server.requests) - 2
    for record in found:
        lengths = [len(response["text"].strip()) for response in record["responses"]]
        ranks = [response["rank"] for response in record["responses"]]
        assert ranks == [1 + sum(other < mine for other in set(lengths)) for mine in lengths]
        assert record["annotator"] == "small" and re.fullmatch("[0-9a-f]{64}", record["annotator_prompt"])
    assert all(isinstance(item, Ranking) for item in read("out/preferences.jsonl", "comparisons").items)
    final = Summary.read(Path("out")).final
    assert (final["annotator_calls"], final["annotator_failed"], final["unread_pairs"]) == (calls + 2, 0, 0)
    assert final["inconsistent"] == 0 and final["annotator_cost"] == pytest.approx(calls * (11 + 2 * 5) / 1e6)
    assert "annotator_cost" in said.out and SECRET not in said.out + said.err

    before = len(server.requests)
    assert main(prices, "again") == 0
    assert records("again") == found and len(server.requests) == before
    final = Summary.read(Path("again")).final
    assert (final["annotator_calls"], final["annotator_cached"], final["annotator_cost"]) == (0, calls, 0)

    # Marks cost one call an answer.
    assert main("collect.endpoint.mode=scores", "scores") == 0
    answers = sum(len(record["responses"]) for record in found)
    assert len(server.requests) - before == answers
    assert "inconsistent" not in Summary.read(Path("scores")).final

    # Rules of one's own are other instructions, and another experiment.
    for name, rules in (("rules.txt", "Longer is better."), ("moved.txt", "Longer is better."), ("empty.txt", " \n")):
        Path(name).write_text(rules)
    assert main("collect.rubric=empty.txt", "empty") == 2
    before = len(server.requests)
    assert main("collect.rubric=rules.txt", "rules") == 0
    assert len(server.requests) - before == calls
    assert all("Longer is better." in request["messages"][0]["content"] for request in server.requests[before:])
    prompts = {record["annotator_prompt"] for out in ("out", "rules") for record in records(out)}
    assert len(prompts) == 2
    assert main("collect.rubric=moved.txt", "moved") == 0
    ids = [Summary.read(Path(out)).id for out in ("out", "rules", "moved")]
    assert ids[1] == ids[2] != ids[0]


@pytest.mark.ci
def test_too_dear_is_refused_before_the_first_call(
    main: Main, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    dear = "collect.endpoint.price_in=1000 collect.endpoint.max_cost=0.01"
    assert main(dear) == 2
    assert capsys.readouterr().err.startswith("collect.endpoint.max_cost: ") and server.requests == []
    assert Path("out/completions.jsonl").exists(), "what was sampled is kept"


@pytest.mark.ci
def test_nobody_there_is_told_before_anything_is_sampled(
    main: Main, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.wants = "another key"
    assert main() == 2
    assert capsys.readouterr().err.startswith("collect.endpoint.key_env: ")
    assert not Path("out/completions.jsonl").exists()


@pytest.mark.ci
def test_a_killed_collection_continues_and_pays_for_no_answer_twice(
    main: Main, models: Path, server: ChatServer, program_folder: Path
) -> None:
    right, stop, killed = server.reply, threading.Event(), threading.Event()

    def reply(content: str) -> str:
        if len(server.requests) == 8:
            stop.set()
            killed.wait(60)
        return right(content)

    server.reply = reply
    command = [sys.executable, str(ROOT / "collect.py"), *line(models, server), "collect.endpoint.concurrency=1"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    assert stop.wait(120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed.set()
    server.reply = right
    assert Summary.read(Path("out")).status == "running"
    assert main("collect.endpoint.concurrency=1 resume=true") == 0
    asked = asked_of(server)
    assert len(asked) == len(set(asked)) + 1, "only the call that was never answered is made again"
    assert asked.count(asked[7]) == 2
    assert all(fenced(json.loads(text)[0]["content"])[0] in PROMPTS for text in asked)
    assert main("", "whole") == 0 and records("whole") == records()
