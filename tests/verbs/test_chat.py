"""`chat.py` with a tiny random model: turns, commands, what is shown beside the answers, and refusals."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import LONG_LLAMA
from transformers import AutoModelForSequenceClassification

from chat import chat
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy, load_scorer
from rlhf.rollout.conversation import Conversation, Reply
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.runs import Summary

pytestmark = pytest.mark.ci

ROOT = Path(__file__).parents[2]
Say = Callable[..., str]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`policy` and `reward` folders and a `run` directory, of random weights."""
    folder, tokenizer = tmp_path_factory.mktemp("models"), load_tokenizer("tiny")
    policy = load_policy(None, LONG_LLAMA, tokenizer, seed=1)
    export(policy, tokenizer, folder / "policy")
    export(policy, tokenizer, folder / "run" / "model")
    Summary(status="finished", algo="sft", model="tiny").write(folder / "run")
    (folder / "run" / "config.yaml").write_text("{data: {max_length: 40000}, rollout: {max_new_tokens: 30000}}")
    scorer = load_scorer(None, LONG_LLAMA, tokenizer, seed=2)
    scorer.reward_mean = 0.75
    export(scorer, tokenizer, folder / "reward")
    return folder


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return lambda line: chat.main(line.split())


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> list[Reply]:
    """Every answer that is given."""
    found: list[Reply] = []
    reply = Conversation.reply

    def remember(*args: Any) -> Reply:
        found.append(reply(*args))
        return found[-1]

    monkeypatch.setattr(Conversation, "reply", remember)
    return found


@pytest.fixture
def say(
    main: Callable[[str], int], models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Say:
    """What the output has from the first prompt on, when these lines come through a pipe."""

    def say(*lines: str, more: str = "") -> str:
        stdin = io.TextIOWrapper(io.BytesIO("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")))
        monkeypatch.setattr(sys, "stdin", stdin)
        capsys.readouterr()
        assert main(f"model.init={models}/policy rollout.max_new_tokens=8 {more}") == 0
        return re.split(r"^(?=> )", capsys.readouterr().out, maxsplit=1, flags=re.MULTILINE)[-1]

    return say


def test_a_piped_conversation_reads_like_a_terminals(say: Say, replies: list[Reply]) -> None:
    out = say("What is it?", "", "  And why? ", "/quit", "never read")
    first, second = replies
    assert first.text and second.text
    assert out == (
        f"> What is it?\n{first.text}\nstopped at 8 tokens\n> \n>   And why? \n{second.text}\nstopped at 8 tokens\n"
        "> /quit\n"
    )
    assert len(second.row.prompt) > len(first.row.prompt) + 8, "the first turn is part of the second prompt"


def test_the_end_of_the_input_ends_the_conversation(say: Say, replies: list[Reply]) -> None:
    assert say("What is it?").count("> ") == 1
    assert len(replies) == 1


def test_a_seed_makes_a_conversation(say: Say) -> None:
    first = say("a", "/reset", "a")
    once, again = re.findall(r"> a\n((?:.|\n)*?)\nstopped", first)
    assert once != again, "the same question gets another answer"
    assert say("a", "/reset", "a") == first
    assert say("a", "/reset", "a", more="seed=2") != first
    both = re.findall(r"> a\n((?:.|\n)*?)\nstopped", say("a", "/reset", "/seed 1", "a", more="seed=2"))
    assert both[0] != once and both[1] == once


def test_reset_forgets(say: Say, replies: list[Reply]) -> None:
    assert "> /reset\na new conversation\n" in say("a", "b", "/reset", "a")
    assert replies[2].row.prompt == replies[0].row.prompt != replies[1].row.prompt


def test_temperature(say: Say, replies: list[Reply]) -> None:
    assert "> /temperature 0\ntemperature 0\n" in say("/temperature 0", "a", "/reset", "a")
    assert replies[0].text == replies[1].text
    say("a", more="rollout.temperature=0")
    assert replies[2].text == replies[0].text
    assert all(reply.text for reply in replies)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/resett", "/resett: no such command; did you mean /reset?"),
        ("/", "/: no such command; /help lists them"),
        ("/seed", "seed: nothing is not a whole number ≥ 0, ≤ 4294967295"),
        ("/seed 1.5", "seed: 1.5 is not a whole number ≥ 0, ≤ 4294967295"),
        ("/seed -1", "seed: -1 is not a whole number ≥ 0, ≤ 4294967295"),
        ("/temperature hot", "rollout.temperature: hot is not a number ≥ 0, ≤ 10"),
        ("/temperature 11", "rollout.temperature: 11 is not a number ≥ 0, ≤ 10"),
        ("/temperature nan", "rollout.temperature: nan is not a number ≥ 0, ≤ 10"),
    ],
)
def test_a_command_that_is_not_understood_stops_nothing(
    say: Say, replies: list[Reply], line: str, sentence: str
) -> None:
    out = say(line, "a")
    assert out.startswith(f"> {line}\n{sentence}\n> a\n")
    assert len(replies) == 1


def test_help_names_every_command(say: Say, replies: list[Reply]) -> None:
    out = say("/help")
    for command in ("/reset", "/seed N", "/temperature X", "/help", "/quit"):
        assert re.search(rf"^{command} ", out, re.MULTILINE)
    assert replies == []


def test_a_space_in_front_makes_a_command_a_question(say: Say, replies: list[Reply]) -> None:
    say(" /reset")
    assert load_tokenizer("tiny").decode(replies[0].row.prompt).endswith("/reset\n### Assistant:")


def test_bytes_that_are_no_text_are_read_anyway(say: Say, replies: list[Reply]) -> None:
    say("caf\udce9")
    assert "caf\ufffd" in load_tokenizer("tiny").decode(replies[0].row.prompt)


def test_what_a_terminal_would_obey_is_not_written(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer("tiny")
    answer = [*tokenizer.encode(" red \x1b[31m\x07\r\x9b no\tmore\nthan this"), tokenizer.eos_id]
    monkeypatch.setattr(TorchSampler, "stream", lambda *_, **__: iter(answer))
    assert say("a") == "> a\nred \\x1b[31m\\x07\\x0d\\x9b no\tmore\nthan this\n"


@torch.no_grad()
def test_scores_beside_the_answers(say: Say, models: Path, replies: list[Reply]) -> None:
    scores = re.findall(r"stopped at 8 tokens, score (-?[\d.]+)$", say("a", "b", more=reward(models)), re.MULTILINE)
    theirs = AutoModelForSequenceClassification.from_pretrained(models / "reward")
    assert len(scores) == len(replies) == 2
    for score, reply in zip(scores, replies, strict=True):
        ids = torch.tensor([[*reply.row.prompt, *reply.row.responses[0]]])
        assert float(score) == pytest.approx(theirs(input_ids=ids).logits.item() - 0.75, abs=0.006)


def test_remarks(say: Say, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of an answer that did not end by itself, is empty, or reads less than there was."""
    tokenizer = load_tokenizer("tiny")
    answers: list[Iterator[int]] = []
    monkeypatch.setattr(TorchSampler, "stream", lambda *_, **__: answers.pop(0))

    def interrupted() -> Iterator[int]:
        yield from tokenizer.encode(" Well")
        raise KeyboardInterrupt

    answers += [interrupted(), iter([tokenizer.eos_id]), iter([*tokenizer.encode(" Yes."), tokenizer.eos_id])]
    out = say("a", "b", "c " * 600, more=reward(models))
    assert re.search(r"^> a\nWell\ninterrupted\n> b\nno answer, score \S+\n> c c .*\nYes\.\n", out)
    assert re.search(r"the first \d+ tokens of the conversation no longer fit, score \S+\n$", out)


def test_a_system_message(say: Say, replies: list[Reply]) -> None:
    say("a", more="chat.system=kindly")
    assert load_tokenizer("tiny").decode(replies[0].row.prompt).startswith("kindly\n### Human: a")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("end", [EOFError(), KeyboardInterrupt(), "/quit"])
def test_leaving_a_terminal(
    main: Callable[[str], int], models: Path, replies: list[Reply], monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    typed: list[Any] = ["a", end]

    def typing(prompt: str) -> str:
        assert prompt == "> "
        following = typed.pop(0)
        if isinstance(following, BaseException):
            raise following
        return following

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", typing)
    assert main(f"model.init={models}/policy rollout.max_new_tokens=8") == 0
    assert len(replies) == 1 and typed == []


def reward(models: Path) -> str:
    return f"chat.reward_model={models}/reward"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "model.init: auto found no finished run of"),
        ("model.init=nowhere", "model.init: nowhere does not exist; pass auto, a run directory or a model folder"),
        ("model.init={models}/reward", "model.init: {models}/reward is a reward model, not a policy; pass"),
        ("-m model.init={models}/policy seed=1,2", "--multirun: "),
        ("model.init={models}/policy seed=1,2", "seed=1,2: several values make a sweep, which needs -m"),
        ("model.init={models}/policy chat.reward_model=auto", "chat.reward_model: auto found no finished reward run"),
        ("model.init={models}/policy chat.reward_model={models}/policy", "chat.reward_model: {models}/policy is not a"),
        ("model.init={models}/policy rollout=vllm", "rollout.engine: vllm"),
        ("model.init={models}/policy chat.sytem=x", "chat.sytem: unknown key; did you mean chat.system?"),
    ],
)
def test_refusals(
    main: Callable[[str], int],
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    line: str,
    sentence: str,
) -> None:
    assert main(line.format(models=models)) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(sentence.format(models=models)) and "\n" not in told
    assert list(tmp_path.iterdir()) == []


def test_the_script_refuses_without_loading_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "chat.py"), "model.init=nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert (done.returncode, len(said)) == (2, 1)
    assert "omegaconf" in imported and not imported & {"torch", "transformers", "lightning", "tokenizers", "rich"}


class Screen:
    """A program in a terminal of its own."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.master, slave = pty.openpty()
        environment = os.environ | {"TERM": "dumb", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment, preexec_fn=_own_terminal
        )
        os.close(slave)
        self.text = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait(self, pattern: str, seconds: float = 300) -> None:
        """Until the pattern is there, after all that was waited for before."""
        until = time.monotonic() + seconds
        while (found := re.search(pattern, self.text)) is None:
            assert time.monotonic() < until, f"no {pattern!r} in {self.text[-500:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 1 << 16).decode(errors="replace")
        self.text = self.text[found.end() :]


def _own_terminal() -> None:
    """Ctrl-C goes to whom the terminal belongs, even where a shell started the tests in the background, deaf to it."""
    import fcntl
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_ctrl_c_in_a_terminal(models: Path, tmp_path: Path) -> None:
    """While an answer is written it ends the answer; at the prompt it leaves."""
    # The likeliest token is never end-of-text, so there is time.
    keys = [f"model.init={models}/run", "rollout.temperature=0", "strategy.threads=1"]
    script = Screen([sys.executable, str(ROOT / "chat.py"), *keys], tmp_path)
    try:
        script.wait("answers of at most 30000 tokens to the last 10000(.|\n)*> $")
        script.type("What is it?\n")
        script.wait(r"What is it\?\r\n..")
        script.type("\x03")
        script.wait(r"\r\ninterrupted\r\n> $")
        # On a busy machine the signal may come after the prompt is shown and before readline waits: Python then sees it
        # at the next key only. A user presses again.
        for _ in range(60):
            script.type("\x03")
            with suppress(subprocess.TimeoutExpired):
                script.process.wait(3)
                break
        assert script.process.returncode == 0
    finally:
        script.process.kill()
        os.close(script.master)
