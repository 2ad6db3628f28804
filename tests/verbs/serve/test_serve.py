"""`python serve.py`: what is refused, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from small_models import LONG_LLAMA

pytest.importorskip("starlette", reason="the server needs Starlette: pip install -e '.[web]'")
pytest.importorskip("uvicorn", reason="the server needs Uvicorn: pip install -e '.[web]'")

from launch.app import Program
from launch.planner import Point
from rlhf.config import ServeConfig
from rlhf.config.address import TOKEN
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.errors import ConfigError
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy
from rlhf.runs.parents import from_given
from verbs.serve.serve import load_served, run_serve

ROOT = Path(__file__).parents[3]


def serve(point: Point, overrides: list[str]) -> None:
    """Serve."""
    run_serve(point.config, point.parents)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, program_folder: Path) -> Callable[[str], int]:
    monkeypatch.delenv(TOKEN, raising=False)
    return lambda line: Program("serve", talk=serve).main(line.split())


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("", "model.init"),
        ("model.init=nowhere", "model.init"),
        ("host=0.0.0.0", "host"),
        ("port=70000", "port"),
        ("rollout=vllm", "rollout.engine"),
        ("max_length=1", "max_length"),
        ("-m seed=1,2", "--multirun"),
    ],
)
def test_refusals(main: Callable[[str], int], capsys: pytest.CaptureFixture[str], line: str, key: str) -> None:
    assert main(line) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{key}: ") and said.count("\n") == 1


def test_more_than_the_model_can_read(models: Path) -> None:
    config = ServeConfig(max_length=1000)
    config.strategy.threads = 1
    with pytest.raises(ConfigError, match=r"^max_length: 1000.*128"):
        load_served(config, from_given("model.init", str(models / "a")))


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose answers do not end before they are stopped."""
    tiny = load_tokenizer("tiny")
    folder = tmp_path_factory.mktemp("long") / "model"
    export(load_policy(None, LONG_LLAMA, tiny, seed=1), tiny, folder)
    return folder


@pytest.fixture
def server(long_model: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program, and its address."""
    command = [sys.executable, str(ROOT / "serve.py"), f"model.init={long_model}", "port=0", "strategy.threads=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"(http://127\.0\.0\.1:\d+/v1) serves", line):
            yield process, found[1]
            break
    else:
        pytest.fail("it did not start")
    process.kill()
    process.wait()


@pytest.mark.ci
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 75)])
def test_the_end_comes_at_once_and_clean(server: tuple[subprocess.Popen[str], str], number: int, code: int) -> None:
    """While an answer is written that would take minutes."""
    process, url = server
    body = {"messages": [{"role": "user", "content": "Go."}], "stream": True, "max_tokens": 60_000}
    with httpx.stream("POST", f"{url}/chat/completions", json=body, timeout=60, trust_env=False) as answer:
        lines = answer.iter_lines()
        while '"content": ""' in (line := next(lines)) or not line:
            pass
        assert json.loads(line.removeprefix("data: "))["object"] == "chat.completion.chunk"
        process.send_signal(number)
        last = [line for line in lines if line][-1]
        assert "error" in json.loads(last.removeprefix("data: "))
    assert process.wait(30) == code
    assert process.stdout is not None
    said = process.stdout.read()
    assert "Traceback" not in said and "0 requests" in said
