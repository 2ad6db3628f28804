from __future__ import annotations

from pathlib import Path

from launch.loaded import Lengths, lengths_beside, lengths_of
from rlhf.runs import Parent


def run(folder: Path, max_length: int, max_new_tokens: int) -> Parent:
    folder.mkdir()
    text = f"data: {{max_length: {max_length}}}\nrollout: {{max_new_tokens: {max_new_tokens}}}\n"
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return Parent("run", folder)


def test_a_folder_reads_and_writes_as_much_as_the_runs_beside_it(tmp_path: Path) -> None:
    folder, long, short = Parent("folder", tmp_path), run(tmp_path / "a", 512, 32), run(tmp_path / "b", 128, 64)
    assert lengths_of(long) == Lengths(512, 32)
    assert lengths_of(folder) == Lengths()
    assert lengths_beside([folder, long, short]) == [Lengths(512, 64), Lengths(512, 32), Lengths(128, 64)]
    assert lengths_beside([folder]) == [Lengths()]
