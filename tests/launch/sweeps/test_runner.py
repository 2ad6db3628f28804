"""Commands in processes of their own: endings, signals, and what happens when somebody dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from launch.sweeps.runner import Runner, noticing, run

ROOT = Path(__file__).parents[3]


def script(tmp_path: Path, body: str) -> list[str]:
    """A program that has taken what a sweep hands over, and then does as `body` says."""
    file = tmp_path / "program.py"
    head = f"import os, signal, sys, time\nsys.path.insert(0, {str(ROOT)!r})\n"
    head += "from launch.sweeps.messages import Handover\nhanded = Handover.take()\n"
    file.write_text(head + textwrap.dedent(body))
    return [sys.executable, str(file)]


WAITING = """
    stopped = []
    signal.signal(signal.SIGINT, lambda number, frame: stopped.append(number))
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    print("ready", flush=True)
    while not stopped:
        time.sleep(0.02)
    handed.tell(0, "", stopped[0])
    sys.exit(130 if stopped[0] == signal.SIGINT else 75)
"""


def until_ready(console: Path) -> None:
    for _ in range(6000):
        if console.exists() and "ready" in console.read_text():
            return
        threading.Event().wait(0.01)
    raise AssertionError("the program did not start within a minute")


def test_an_ending_comes_back_and_the_output_is_kept(tmp_path: Path) -> None:
    command = script(tmp_path, "print('hello', os.getcwd())\nhanded.tell(2, 'no such thing', None)\nsys.exit(2)")
    ending = run(command, str(tmp_path), {}, str(tmp_path / "made" / "console.log"))
    assert (ending["code"], ending["error"], ending["value"]) == (2, "no such thing", None)
    assert (tmp_path / "made" / "console.log").read_text() == f"hello {tmp_path}\n"


def test_values_and_parents_pass(tmp_path: Path) -> None:
    from launch.sweeps.messages import variables
    from rlhf.runs import Parent

    command = script(tmp_path, "handed.tell(0, '', [1.5, handed.parents['model.init']['kind']])")
    handed = variables({"model.init": Parent("random", reason="so")})
    assert run(command, str(tmp_path), handed, str(tmp_path / "log"))["value"] == [1.5, "random"]


def test_nothing_is_handed_on_to_processes_of_the_program(tmp_path: Path) -> None:
    command = script(tmp_path, "handed.tell(0, '', [name for name in os.environ if name.startswith('RLHF_')])")
    assert run(command, str(tmp_path), {}, str(tmp_path / "log"))["value"] == []


def test_a_program_that_dies_without_a_word(tmp_path: Path) -> None:
    ending = run(script(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"), str(tmp_path), {}, str(tmp_path / "log"))
    assert (ending["code"], ending["error"]) == (-signal.SIGKILL, "")


def test_a_program_can_be_stopped_where_signals_are_blocked(tmp_path: Path) -> None:
    """As they are in Ray's workers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        command = script(tmp_path, "handed.tell(0, '', [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])])")
        assert run(command, str(tmp_path), {}, str(tmp_path / "log"))["value"] == []
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []), "here nothing has changed"
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_is_handed_on_and_nothing_more_is_started(tmp_path: Path, number: int, code: int) -> None:
    runner, console = Runner(), tmp_path / "console.log"
    command = script(tmp_path, WAITING)

    def stop() -> None:
        until_ready(console)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    with noticing(runner.stop):
        thread.start()
        ending = runner(command, str(tmp_path), {}, str(console))
        later = runner(command, str(tmp_path), {}, str(tmp_path / "other.log"))
    thread.join()
    assert (ending["code"], ending["value"]) == (code, number)
    assert later["code"] == code and not (tmp_path / "other.log").exists()


def test_a_program_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """A sweep that is killed outright leaves nothing behind that holds a run's lock."""
    console = tmp_path / "console.log"
    command = script(tmp_path, "print(os.getpid(), 'ready', flush=True)\nwhile True:\n    time.sleep(0.02)")
    starter = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from launch.sweeps.runner import run; "
    starter += f"run({command!r}, {str(tmp_path)!r}, {{}}, {str(console)!r})"
    with subprocess.Popen([sys.executable, "-c", starter]) as process:
        until_ready(console)
        process.kill()
    child = int(console.read_text().split()[0])
    for _ in range(6000):
        if not _alive(child):
            return
        threading.Event().wait(0.01)
    raise AssertionError("it is still there after a minute")


def _alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    # A process that has ended and that nobody has asked about is a zombie.
    return status.rsplit(")", 1)[1].split()[0] != "Z"
