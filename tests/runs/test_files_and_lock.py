from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf.errors import ConfigError
from rlhf.runs import atomic_write_json, atomic_write_text
from rlhf.runs.lock import Lock


def test_what_is_written_is_read(tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "a.json", {"名": 1})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"名": 1}
    assert "名" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    atomic_write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_have_the_permissions_of_ordinary_files(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    atomic_write_text(tmp_path / "ours", "x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "ours")]
    assert modes[0] == modes[1]


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from rlhf.errors import ConfigError\nfrom rlhf.runs.lock import Lock\n"
        "try: Lock(Path(sys.argv[1]))\nexcept ConfigError as error: print(error)"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=300, check=True).stdout
    assert f"{tmp_path} is in use by process {os.getpid()} on " in told
    lock.release()
    lock.release()
    assert subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=300, check=True).stdout == ""


def test_a_crash_leaves_no_lock_behind(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\nfrom rlhf.runs.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1])); os._exit(9)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, timeout=300).returncode == 9
    assert (tmp_path / ".lock").read_text() != ""
    Lock(tmp_path).release()


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir: .* is in use by process"):
        Lock(tmp_path)
    lock.release()
