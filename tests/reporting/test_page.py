from __future__ import annotations

import csv
import errno
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rlhf.errors import ConfigError
from rlhf.reporting.gather import gather
from rlhf.reporting.page import IN_SCRIPT
from rlhf.reporting.sections import build
from rlhf.reporting.strings import STRINGS
from rlhf.reporting.write import write
from rlhf.runs import Summary

MakeRun = Callable[..., Path]


class Tags(HTMLParser):
    """Remembers every tag, and what would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.loaded += [value or "" for name, value in attrs if name in ("src", "srcset", "data", "action")]
        if tag == "link":
            self.loaded += [value or "" for name, value in attrs if name == "href"]


def parsed(page: Path) -> Tags:
    tags = Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    return tags


def sweep(make_run: MakeRun, tmp_path: Path) -> Path:
    for seed in (1, 2):
        for coef in (0.1, 0.2):
            make_run(f"sweep/{coef}-{seed}", seed=seed, kl_coef=coef)
    make_run("sweep/late", status="failed", kl_coef=0.3)
    return tmp_path / "sweep"


def test_an_evaluation_in_one_file(evaluation: Path, tmp_path: Path) -> None:
    page = write(build(gather(evaluation)), tmp_path / "page.html")
    tags = parsed(page)
    wanted = {
        "warnings",
        "what",
        "headline",
        "wins",
        "frontier",
        "calibration",
        "curves-ppo",
        "distributions",
        "samples",
    }
    assert wanted | {"configuration", "files"} <= set(tags.ids)
    assert len(tags.ids) == len(set(tags.ids))
    assert page.stat().st_size < 5e6
    text = page.read_text(encoding="utf-8")
    assert "83.5%" not in text and "80.0%" in text and "≤ 0.64" in text


def headings(page: Path) -> tuple[str, str, str]:
    """The title of the window, the page's own, and the line below it."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r"<title>(.*?)</title>.*?<h1>(.*?)</h1>\s*<p[^>]*>(.*?)</p>", text, re.DOTALL)
    assert found is not None
    return found[1], found[2], found[3]


def test_pages_are_titled_by_what_they_compare(evaluation: Path, make_run: MakeRun, tmp_path: Path) -> None:
    """Folders and ids come after it."""
    run = make_run("a")
    summary = Summary.read(run)
    summary.overrides = ["algo=ppo", "algo.kl_coef=0.1"]
    summary.write(run)
    titles = {
        run: "ppo · tiny on assistant · kl_coef=0.1",
        evaluation: "sft vs ppo · tiny",
        sweep(make_run, tmp_path): "ppo · tiny on assistant · kl_coef=0.1, 0.2, 0.3 · seed=1, 2",
    }
    for path, title in titles.items():
        window, heading, below = headings(write(build(gather(path)), tmp_path / "page.html"))
        assert heading == title and window.startswith(title) and below.startswith(path.name)


def test_the_folder_stands_last_among_the_facts(evaluation: Path) -> None:
    facts = next(section for section in build(gather(evaluation)).sections if section.id == "what").facts
    assert [value for _, value in facts].index(str(evaluation)) == len(facts) - 1


def test_a_page_about_nothing_known_is_titled_by_its_folder(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("some-folder", algo="")
    Summary(status="finished").write(run)
    assert headings(write(build(gather(run)), tmp_path / "page.html"))[1] == "some-folder"


def test_what_models_wrote_is_never_markup(evaluation: Path, make_run: MakeRun, tmp_path: Path) -> None:
    for source in (evaluation, evaluation.parent / "runs" / "ppo", sweep(make_run, tmp_path)):
        page = write(build(gather(source)), tmp_path / "page.html")
        tags = parsed(page)
        assert tags.tags.count("script") == 2, "the data, and our own"
        assert "img" not in tags.tags
        assert tags.loaded == ["data:,"], "nothing is loaded from elsewhere"
        assert not re.search(r"<script>window.broken", page.read_text(encoding="utf-8"))


def test_a_sweep_with_a_failed_point(make_run: MakeRun, tmp_path: Path) -> None:
    page = write(build(gather(sweep(make_run, tmp_path))), tmp_path / "page.html")
    assert {"parallel", "frontier", "curves-ppo"} <= set(parsed(page).ids)
    text = page.read_text(encoding="utf-8")
    assert "algo.kl_coef = 0.1, 0.2, 0.3" in text and "failed" in text


def test_every_table_and_plot_is_a_file(evaluation: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report_files"
    page = write(build(gather(evaluation)), tmp_path / "page.html")
    names = {path.name for path in folder.iterdir()}
    wanted = {"models.csv", "win_rates.csv", "frontier.csv", "curves.csv", "runs.csv", "frontier-gold.svg"}
    assert wanted <= names
    for name in re.findall(r'href="report_files/([^"]+)"', page.read_text(encoding="utf-8")):
        assert name in names
    for file in folder.glob("*.csv"):
        rows = list(csv.reader(file.open(encoding="utf-8")))
        assert len(rows) > 1 and {len(row) for row in rows} == {len(rows[0])}, file.name


def test_a_report_deletes_what_an_earlier_one_wrote_and_nothing_else(evaluation: Path, tmp_path: Path) -> None:
    """A folder of that name may be somebody's own, and the list in it may come from somebody else."""
    folder, outside = tmp_path / "report_files", tmp_path / "outside.csv"
    (folder / "deep").mkdir(parents=True)
    (folder / "folder.csv").mkdir()
    mine = ["notes.txt", "mine.csv", "deep/mine.svg", "settings.json"]
    for name in mine:
        (folder / name).write_text(name)
    outside.write_text("outside")
    (folder / "models.csv").symlink_to(outside)
    (folder / "stale.csv").touch()
    named = [
        "stale.csv",
        "gone.svg",
        "../outside.csv",
        "deep/mine.svg",
        str(outside),
        "deep",
        "settings.json",
        3,
        "\0.csv",
        "folder.csv",
    ]
    (folder / ".files.json").write_text(json.dumps(named))
    page = build(gather(evaluation))
    write(page, tmp_path / "page.html")
    assert all((folder / name).read_text() == name for name in mine) and outside.read_text() == "outside"
    assert not (folder / "stale.csv").exists() and not (folder / "models.csv").is_symlink()
    for section in page.sections:
        section.charts = section.unfold = ()
    write(page, tmp_path / "page.html")
    assert not list(folder.glob("*.svg")) and (folder / "runs.csv").exists()
    (folder / ".files.json").write_text("[" * 10**5)
    write(page, tmp_path / "page.html")
    assert all((folder / name).read_text() == name for name in mine)


def test_a_full_disk_leaves_the_report_of_before(
    evaluation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = build(gather(evaluation))
    out = write(page, tmp_path / "page.html")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(page, out)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_png(evaluation: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install -e '.[report]'")
    write(build(gather(evaluation)), tmp_path / "page.html", png=True)
    found = {path.stem for path in (tmp_path / "report_files").glob("*.png")}
    assert {"win_rates", "frontier-gold", "distribution-tokens"} <= found


def test_png_without_matplotlib(evaluation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"png: needs matplotlib; pip install -e '.\[report\]'"):
        write(build(gather(evaluation)), tmp_path / "page.html", png=True)


def test_a_reward_model_alone(evaluation: Path, tmp_path: Path) -> None:
    file = evaluation / "evaluation.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    record |= {"models": {}, "win_rates": {}, "best_of_n": None, "judge": "none", "reference": ""}
    record["reward_model"] |= {
        "members": {"a": record["reward_model"]["slices"]["category"]["harmful"]},
        "agreement": {"pairwise": 0.77, "unanimous": 0.66},
        "length_bias": {"n": 9, "correlation": 0.1, "prefers_longer": 0.61, "labels_prefer_longer": 0.5},
    }
    file.write_text(json.dumps(record), encoding="utf-8")
    (evaluation / "answers.jsonl").unlink()
    page = write(build(gather(evaluation)), tmp_path / "page.html")
    assert "calibration" in parsed(page).ids and "headline" not in parsed(page).ids
    text = page.read_text(encoding="utf-8")
    assert all(words in text for words in ("category: harmful", "member: a", "77.0%", "61.0%"))


def test_another_judge_and_what_it_says(evaluation: Path, tmp_path: Path) -> None:
    file = evaluation / "evaluation.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    record |= {"judge": "endpoint", "facts": {"`sft`": "x", "judge": "some-model at some-place", "kl": "not measured"}}
    record |= {"harness": {"sft": {"arc_easy": {"acc": 0.25}}, "ppo": {}}}
    record["win_rates"]["ppo>sft"]["sign_test"] = {"p": 0.0001}
    file.write_text(json.dumps(record), encoding="utf-8")
    text = write(build(gather(evaluation)), tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(words in text for words in ("some-model at some-place", "not measured", "arc_easy acc", "&lt; 0.001"))


def test_without_files(evaluation: Path, tmp_path: Path) -> None:
    page = write(build(gather(evaluation)), tmp_path / "page.html", language="zh", files=False)
    assert not (tmp_path / "report_files").exists()
    assert 'data-language="zh"' in page.read_text(encoding="utf-8")


def test_a_torn_run_is_shown_as_far_as_it_goes(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("a")
    (folder / "config.yaml").unlink()
    (folder / "samples.jsonl").write_text('{"step": 0, "prom')
    (folder / "metrics.csv").write_text("step,val/score\n0,nan\n10,\n20,1.0\n30,2")
    page = write(build(gather(folder)), tmp_path / "page.html")
    assert "headline" in parsed(page).ids


def test_every_string_has_two_languages_and_the_same_places() -> None:
    for key, (english, chinese) in STRINGS.items():
        places = [set(re.findall(r"{(\w+)}", text)) for text in (english, chinese)]
        assert english and chinese and places[0] == places[1], key
    assert set(IN_SCRIPT) <= STRINGS.keys()
