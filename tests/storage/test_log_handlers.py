"""A log that can't be written ends nothing, and is said once."""

from __future__ import annotations

import io
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rlhf.storage.log_handlers import LogFile, Terminal

FULL = Path("/dev/full")
"""Where every write fails as on a full disk."""


class Left(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("make", [LogFile, lambda path: Terminal(path.open("w"))])
def test_a_full_disk(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler, log = make(FULL), logging.getLogger("rlhf.full")
    log.addHandler(handler)
    try:
        log.error("the program itself reports errors")
        assert capsys.readouterr().err == ""
        for _ in range(3):
            log.warning("x")
    finally:
        log.removeHandler(handler)
        with suppress(OSError):
            handler.stream.close()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "/dev/full" in said[0] and "no space is left on the disk" in said[0]


def test_a_reader_who_left_and_a_fault_of_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    for stream, arguments, told in ((Left(), (1,), False), (io.StringIO(), ("not a number",), True)):
        record = logging.LogRecord("rlhf", logging.WARNING, "", 0, "%d", arguments, None)
        Terminal(stream).handle(record)
        assert ("Traceback" in capsys.readouterr().err) == told
