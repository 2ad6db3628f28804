"""`prepare.py` with a source that a language model writes, behind a server of this machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import SECRET, ChatServer

from prepare import prepare
from rlhf.config import PrepareConfig, validate
from rlhf.data.preparation.synthetic.steps import Asked, Bound, sha256
from rlhf.data.readers import read
from rlhf.errors import ConfigError
from rlhf.evaluation.judges.calls import Cache, Prices
from rlhf.evaluation.judges.endpoint import Endpoint
from rlhf.runs import Summary
from verbs.prepare.asking import Asking

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
PROMPTS = ROOT / "rlhf" / "data" / "preparation" / "synthetic" / "prompts"
Main = Callable[..., int]


def write_tasks(content: str) -> str:
    """As a model would: eight new instructions where they are asked for, each with words of its own; else an answer."""
    if "numbered from" not in content:
        return f"The answer to {content[:40]!r} is {hashlib.sha256(content.encode()).hexdigest()[:6]}."
    digest = hashlib.sha256(content.encode()).hexdigest()
    words = [digest[n : n + 4] for n in range(0, 64, 4)]
    items = [f"Tell me {words[n]} and {words[n + 8]} about {words[n][::-1]}" for n in range(6)]
    lines = [f"{n}. {item}" for n, item in enumerate([*items, "Draw me an image now", "Why?"], 9)]
    return "\n".join(["Here they are:", "", *lines])


@pytest.fixture
def server(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> ChatServer:
    monkeypatch.setenv("MODEL_KEY", SECRET)
    server.reply = write_tasks
    return server


@pytest.fixture
def line(program_folder: Path, server: ChatServer) -> list[str]:
    """Overrides for 20 new instructions after ten seeds."""
    write("seeds.jsonl", [{"prompt": f"Seed {n} of ten tasks", "response": "x"} for n in range(10)])
    return [*asking(server, "self_instruct", "seeds.jsonl"), "synthetic.count=20"]


def asking(server: ChatServer, method: str, path: str) -> list[str]:
    keys = {"url": server.url, "model": "small", "key_env": "MODEL_KEY", "backoff": 0, "concurrency": 2}
    return [
        f"synthetic.method={method}", f"synthetic.path={path}", "duplicates.near=null",
        *(f"synthetic.endpoint.{name}={value}" for name, value in keys.items()),
    ]  # fmt: skip


def main(*overrides: str, out: str = "out") -> int:
    return prepare.main([f"hydra.run.dir={out}", *overrides])


def write(name: str, rows: list[Any]) -> None:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def lines(out: str = "out") -> list[dict[str, Any]]:
    files = [Path(out, f"{split}.jsonl") for split in ("train", "validation", "test")]
    return [json.loads(text) for file in files if file.exists() for text in file.read_text("utf-8").splitlines()]


def card(out: str = "out") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(out, "card.json").read_text(encoding="utf-8"))
    return content


def test_instructions_and_answers_of_a_model(
    line: list[str], server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write("mine.jsonl", [{"prompt": f"What is {n} plus one?", "response": f"{n + 1}"} for n in range(5)])
    assert main(*line, "data.path=mine.jsonl", "synthetic.weight=2", "synthetic.endpoint.price_out=1") == 0
    told = capsys.readouterr().out
    # 4 · ceil(20/8) requests for instructions and 20 for answers, 1,024 tokens each at most.
    assert re.search(r"self_instruct by small at \S+: 32 calls \(0 more .* at most 32,768 out, at most 0.03277", told)
    made = card()
    synthetic, own = made["synthetic"], {source["name"]: source for source in made["sources"]}
    assert synthetic["counts"]["responses"] == {"requests": 20, "records": 20}
    found = synthetic["counts"]["instructions"]
    assert found == {"requests": 4, "found": 32, "kept": 20, "blacklisted": 4, "too_short": 4, "surplus": 4}
    assert synthetic["prompts"] == {"instructions.txt": sha256((PROMPTS / "instructions.txt").read_text("utf-8"))}
    assert synthetic["sha256"] == hashlib.sha256(Path("seeds.jsonl").read_bytes()).hexdigest()
    assert own["mine"]["kept"] == 5 and own["synthetic"]["kept"] == 20 and own["synthetic"]["weight"] == 2
    records = [one for one in lines() if one["dataset"] == "synthetic"]
    assert len({one["prompt"] for one in records}) == 20 and all(one["response"] for one in records)
    for one in records:
        mark = one["synthetic"]
        assert mark["model"] == "small" and mark["prompts"]["instructions.txt"] == synthetic["prompts"][
            "instructions.txt"
        ][:16]  # fmt: skip
        assert len(mark["seeds"]) == 8 and all(re.fullmatch(r"seeds.jsonl:\d+|generated:\d+", n) for n in mark["seeds"])
    assert all("synthetic" not in one for one in lines() if one["dataset"] == "mine")
    page = Path("out", "README.md").read_text(encoding="utf-8")
    assert "## Synthetic records: synthetic" in page and "| instructions | blacklisted | 4 |" in page
    final = Summary.read(Path("out")).final
    assert final["synthetic_calls"] == len(server.requests) == 24 and final["synthetic_cost"] == 24 * 5 / 1e6
    assert not any(SECRET in file.read_text("utf-8", "replace") for file in Path().rglob("*") if file.is_file())
    # The mark is read from JSONL and from Parquet, and a second preparation hands it on.
    for path in ("out/train.jsonl", "out/parquet/train.parquet"):
        marks = [item.prompt.synthetic for item in read(path, "demonstrations").items]
        assert sorted({json.loads(mark)["model"] for mark in marks if mark}) == ["small"] and "" in marks
    assert main("data.path=out", "duplicates.near=null", "duplicates.exact=false", out="again") == 0
    assert sorted(json.dumps(one.get("synthetic")) for one in lines("again")) == sorted(
        json.dumps(one.get("synthetic"), sort_keys=True) for one in lines()
    )


@pytest.mark.ci
def test_nothing_is_paid_twice_and_a_continued_run_ends_alike(
    line: list[str], server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [
        503,
        "nothing",
        "nothing",
        400,
        {"choices": [{"message": {"content": "9. Half a"}, "finish_reason": "length"}]},
    ]
    serial = [*line, "synthetic.endpoint.concurrency=1"]
    server.faults = [*faults]
    assert main(*serial, "synthetic.endpoint.cache=one") == 0
    counts, calls = card()["synthetic"]["counts"], len(server.requests)
    assert counts["instructions"]["no_reply"] == counts["instructions"]["refused_by_server"] == 1

    keep = Cache.keep

    lost: list[str] = []

    def killed(self: Cache, digest: str, content: Any) -> None:
        if len([*Path("two").rglob("*.json")]) == 9:
            lost.append(digest)
            raise KeyboardInterrupt
        keep(self, digest, content)

    server.requests.clear()
    server.faults = [*faults]
    more = [*serial, "synthetic.endpoint.cache=two"]
    with monkeypatch.context() as patch:
        patch.setattr(Cache, "keep", killed)
        assert main(*more, out="killed") == 130
    assert main(*more, "resume=true", out="killed") == 0
    assert len(server.requests) == calls + len(lost), "those whose answers were not kept"
    assert card("killed")["synthetic"]["counts"] == counts
    for name in ("train.jsonl", "card.json", "README.md", "synthetic/records.jsonl"):
        same = Path("out", name).read_bytes() == Path("killed", name).read_bytes()
        assert same, name

    server.requests.clear()
    server.always = 500
    assert main(*line, "synthetic.endpoint.cache=none", "synthetic.endpoint.retries=0", out="down") == 2
    server.always = None
    assert main(*line, "synthetic.endpoint.cache=none", "synthetic.endpoint.retries=0", "resume=true", out="down") == 0
    assert card("down")["synthetic"]["counts"]["instructions"]["requests"] == 4, "what failed then is asked again"


@pytest.mark.ci
def test_a_finished_source_needs_no_server(line: list[str], server: ChatServer) -> None:
    assert main(*line) == 0
    asked = len(server.requests)
    server.wants = "another key"
    prices = ["synthetic.endpoint.price_in=1", "synthetic.endpoint.max_cost=0"]
    assert main(*line, *prices, out="again") == 0, "all is in the cache, so nothing is asked and nothing costs"
    assert len(server.requests) == asked
    assert Path("out", "train.jsonl").read_bytes() == Path("again", "train.jsonl").read_bytes()
    assert main(*line, "synthetic.seed=2", out="other") == 2, "other draws are other requests"


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("synthetic.endpoint.url=http://127.0.0.1:9/v1", "synthetic.endpoint.url: "),
        ("synthetic.endpoint.key_env=OTHER_KEY", "synthetic.endpoint.key_env: "),
        ("synthetic.endpoint.key_env=NO_SUCH_KEY", "synthetic.endpoint.key_env: "),
        ("synthetic.endpoint.price_out=1 synthetic.endpoint.max_cost=0.03", "synthetic.endpoint.max_cost: 0.03"),
        ("synthetic.endpoint.prompts=mine", "synthetic.endpoint.prompts: mine/instructions.txt"),
        ("sources=[pairs.jsonl]", "kind: "),
        ("decontamination.against=[broken.jsonl]", "decontamination.against: broken.jsonl"),
    ],
)
def test_refused_before_anything_is_paid_for(
    line: list[str], server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    more: str, key: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("OTHER_KEY", "sk-wrong")
    Path("mine").mkdir()
    Path("mine", "instructions.txt").write_text("Only $count", encoding="utf-8")
    write("pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    Path("broken.jsonl").write_text("{", encoding="utf-8")
    assert main(*line, *more.split()) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(key) and "\n" not in told and SECRET not in told and "sk-wrong" not in told
    assert server.requests == []


REFUSED = [
    ({"synthetic.method": "none"}, "synthetic.method: none"),
    ({"synthetic.path": None}, "synthetic.path: missing"),
    ({"synthetic.path": "b.jsonl"}, "synthetic.path: b.jsonl"),
    ({"synthetic.count": None}, "synthetic.count: missing"),
    ({"synthetic.count": 0}, "synthetic.count: 0"),
    ({"synthetic.max_words": 3}, "synthetic.max_words: 3"),
    ({"synthetic.novelty": 0.0}, "synthetic.novelty: 0"),
    ({"synthetic.blacklist": [""]}, "synthetic.blacklist"),
    ({"synthetic.name": "a b"}, "synthetic.name: 'a b'"),
    ({"synthetic.revisions": 2}, "synthetic.revisions"),
    ({"synthetic.method": "responses", "synthetic.novelty": 0.5}, "synthetic.novelty"),
    ({"synthetic.method": "critique_revise", "synthetic.constitution": "no.md"}, "synthetic.constitution: no.md"),
    ({"synthetic.endpoint.url": None}, "synthetic.endpoint.url: missing"),
    ({"synthetic.endpoint.max_cost": 1.0}, "synthetic.endpoint.max_cost"),
    ({"kind": "comparisons"}, "kind: "),
    ({"kind": "steps"}, "kind: "),
    ({"sources": [{"path": "a.jsonl", "name": "synthetic"}]}, "sources: two have the name 'synthetic'"),
]


@pytest.mark.parametrize(("changed", "sentence"), REFUSED, ids=[f"{changed}"[1:-1] for changed, _ in REFUSED])
def test_impossible_configurations_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.jsonl", [{"prompt": "a", "response": "b"}])
    config = PrepareConfig()
    usual = {
        "synthetic.method": "self_instruct", "synthetic.path": "a.jsonl", "synthetic.count": 3,
        "synthetic.endpoint.url": "http://localhost:1/v1", "synthetic.endpoint.model": "m",
    }  # fmt: skip
    for key, value in (usual | changed).items():
        *sections, name = key.split(".")
        section: Any = config
        for part in sections:
            section = getattr(section, part)
        setattr(section, name, value)
    with pytest.raises(ConfigError) as refused:
        validate(config)
    assert str(refused.value).startswith(sentence)


def test_answers_to_prompts_of_a_file(program_folder: Path, server: ChatServer) -> None:
    write("ask.jsonl", [{"prompt": f"What about {n}?"} for n in range(30)])
    server.reply = lambda content: "I'm sorry, but I can't help with that." if "7?" in content else write_tasks(content)
    more = ["synthetic.count=20", "synthetic.system=Be brief.", "filter.refusals=true", "synthetic.licence=MIT"]
    assert main(*asking(server, "responses", "ask.jsonl"), *more) == 0
    counts = card()["synthetic"]["counts"]["responses"]
    assert counts["records"] == 20 == len(server.requests) and server.requests[0]["messages"][0]["role"] == "system"
    refused = sum("7?" in request["messages"][-1]["content"] for request in server.requests)
    assert counts.get("refusals", 0) == refused == card()["removed"].get("filter", {}).get("refusal", 0)
    assert len(lines()) == 20 - refused and card()["sources"][0]["licence"] == "MIT"
    assert all(one["synthetic"]["seeds"][0].startswith("ask.jsonl:") for one in lines())
    assert not any("Be brief" in json.dumps(one) for one in lines())


@pytest.mark.parametrize("kind", [pytest.param("auto", marks=pytest.mark.ci), "comparisons"])
def test_answers_are_criticised_and_revised(program_folder: Path, server: ChatServer, kind: str) -> None:
    def reply(content: str) -> str:
        if "You review" in content:
            return "It is rude."
        return f"Better {len(content)}" if "You rewrite" in content else "asked"

    server.reply = reply
    write("ask.jsonl", [{"prompt": f"What about {n}?", "response": f"Rude {n}."} for n in range(12)])
    Path("mine.txt").write_text("Be kind.\nBe brief.\n", encoding="utf-8")
    more = ["synthetic.constitution=mine.txt", "synthetic.revisions=2", f"kind={kind}"]
    assert main(*asking(server, "critique_revise", "ask.jsonl"), *more) == 0
    assert len(server.requests) == 12 * 4 and card()["synthetic"]["counts"]["records"] == {
        "demonstrations" if kind == "auto" else "comparisons": 12
    }
    for one in lines():
        assert sorted(one["synthetic"]["principles"]) == [1, 2] and "mine.txt" in one["synthetic"]["prompts"]
        assert one["response" if kind == "auto" else "chosen"].startswith("Better")
        assert kind == "auto" or one["rejected"].startswith("Rude")


@pytest.mark.ci
def test_killed_while_it_asks(line: list[str], server: ChatServer) -> None:
    """SIGKILL in the middle of a call, twice; the same command ends with the same files, and pays for nothing twice."""
    serial = [*line, "synthetic.endpoint.concurrency=1"]
    assert main(*serial, "synthetic.endpoint.cache=one") == 0
    calls = len(server.requests)
    command = [sys.executable, str(ROOT / "prepare.py"), "hydra.run.dir=killed", *serial, "resume=true"]
    running: list[subprocess.Popen[bytes]] = []

    def reply(content: str) -> str:
        if len(server.requests) in (calls + 5, calls + 12):
            os.kill(running[-1].pid, signal.SIGKILL)
        return write_tasks(content)

    server.reply = reply
    codes = []
    for _ in range(3):
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        codes.append(running[-1].wait(120))
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert len(server.requests) == 2 * calls + 2, "those that were on their way are asked again"
    for name in ("train.jsonl", "synthetic/records.jsonl"):
        assert Path("out", name).read_bytes() == Path("killed", name).read_bytes()


@pytest.mark.ci
def test_the_seeds_of_the_paper(program_folder: Path, server: ChatServer) -> None:
    seeds = SHARED / "self_instruct" / "seed_tasks.jsonl.gz"
    if not seeds.exists():
        pytest.skip("../shared/data is not there")
    assert main(*asking(server, "self_instruct", str(seeds)), "synthetic.count=30") == 0
    first = server.requests[0]["messages"][0]["content"]
    assert "\n8. " in first and "numbered from 9 to 16" in first
    assert len(lines()) == 30 and all(
        re.match(r"seed_tasks.jsonl.gz:\d|generated:", name) for one in lines() for name in one["synthetic"]["seeds"]
    ), "names of seeds, and not of this machine's folders"


def test_the_cost_at_most_counts_quoted_replies_at_their_longest(tmp_path: Path) -> None:
    """4 bytes a token and 4 tokens a message: 2 + 4 and 10 + 4 tokens, and one reply of 100 in each."""
    cache = Cache(tmp_path / "cache", lambda path, text: path.write_text(text, encoding="utf-8"))
    asking = Asking(Endpoint("http://x/v1", "m", cache=cache, max_tokens=100, prices=Prices(1, 2)), tmp_path / "failed")
    short, long = ([{"role": "user", "content": "x" * count}] for count in (8, 40))
    bounds = [Bound("critiques", [short, long], 1)]
    assert asking.replay(Asked("critiques", [short, long])) is None
    found = asking.estimate(bounds)
    assert (found.calls, found.cached, found.tokens_in, found.tokens_out) == (2, 0, 6 + 14 + 200, 200)
    assert found.cost == pytest.approx((220 + 2 * 200) / 1e6)
    cache.keep(asking.endpoint.digest(short), {"answer": "known"})
    assert asking.replay(Asked("critiques", [short, long])) is None
    found = asking.estimate(bounds)
    assert (found.calls, found.cached, found.tokens_in) == (1, 1, 14 + 100), "the longest request is the one left"
    assert asking.estimate([]).cost == 0
