"""The process that parts run in, and the runner's end of it.

All parts share one process, since importing PyTorch and starting CUDA take ten seconds. A part that hangs or crashes
takes the process with it, and the next part gets a new one.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import Context, Skipped

ROOT = Path(__file__).parents[2]
LAST_WORDS = 80
"""Lines of the log that a crashed part's record quotes."""
MARGIN = 2.0
"""Seconds before its end at which a part writes the stacks of its threads to the log."""
VARIABLES = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "WANDB_MODE": "disabled",
    "PYTHONUNBUFFERED": "1",
    # torch.cuda.is_available() must not start CUDA, or no process could be forked after it.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}


class PartProcess:
    """A process group that runs one part after another.

    Args:
        options: the fields of `Context` that are the same for all parts.
        log: everything that parts and libraries print is appended to this file.
    """

    def __init__(self, options: dict[str, Any], log: Path) -> None:
        self.log = log
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with log.open("a", encoding="utf-8") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.process"],
                env=os.environ | VARIABLES | {"PYTHONPATH": path},
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                start_new_session=True,  # so that what a part starts ends with it
            )
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._send(options)

    def run(self, target: str, seconds: float, note: Callable[[str, Any], None]) -> dict[str, Any]:
        """Run a part; returns its record: `status`, and `result`, `error` or `reason`.

        Args:
            note: told of every finding of a part that still runs.
        """
        started = self.log.stat().st_size
        self._send({"target": target, "seconds": seconds})
        until = time.monotonic() + seconds
        while True:
            try:
                answer = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                self.kill()
                return {"status": "stopped", "error": f"no end after {seconds:.0f} s\n{self._last_words(started)}"}
            if answer is None:
                code = self.process.wait()
                return {"status": "failed", "error": f"the process ended with {code}\n{self._last_words(started)}"}
            if "note" not in answer:
                return answer
            note(*answer["note"])

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the end of its answers tells
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)

    def _last_words(self, start: int) -> str:
        with self.log.open("rb") as stream:
            stream.seek(max(start, self.log.stat().st_size - 20_000))
            return "\n".join(stream.read().decode("utf-8", "replace").strip().splitlines()[-LAST_WORDS:])


def perform(target: str, context: Context) -> dict[str, Any]:
    """Run a part here; returns its record. A result with something under `wrong` is no good one."""
    module, _, name = target.partition(":")
    try:
        result = getattr(importlib.import_module(module), name)(context)
        return {"status": "wrong" if result.get("wrong") else "ok", "result": result}
    except Skipped as reason:
        return {"status": "skipped", "reason": str(reason)}
    except (Exception, SystemExit) as error:
        return {"status": "failed", "error": traceback.format_exc(), "poisoned": "CUDA error" in str(error)}


def main() -> None:
    """Answer orders until there are no more, or until CUDA can't be used any longer in this process."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed belongs to the log
    faulthandler.enable()  # a crash leaves the stack in the log
    options = json.loads(sys.stdin.readline())
    paths = {name: Path(options[name]) if options[name] else None for name in ("folder", "out", "data", "models")}

    def note(name: str, value: Any) -> None:
        answers.write(json.dumps({"note": [name, value]}) + "\n")

    for line in sys.stdin:
        order = json.loads(line)
        print(f"\n== {order['target']}", flush=True)
        faulthandler.dump_traceback_later(max(0.1, order["seconds"] - MARGIN), file=sys.stderr)
        until = time.monotonic() + order["seconds"]
        context = Context(options["device"], options["tiny"], until=until, note=note, **paths)  # type: ignore[arg-type]
        record = perform(order["target"], context)
        faulthandler.cancel_dump_traceback_later()
        answers.write(json.dumps(record) + "\n")
        if record.get("poisoned"):
            break
    answers.flush()
    os._exit(0)  # libraries' threads and process groups must not hold the end up


if __name__ == "__main__":
    main()
