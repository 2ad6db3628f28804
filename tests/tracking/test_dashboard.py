"""Dashboards as code: what they show is logged, and without a connection they are files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launch.programs import dashboard as main
from tracking import dashboard

pytest.importorskip("wandb_workspaces", reason="pip install -e '.[dashboard]'")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def titles(content: Any) -> set[str]:
    """Of all panels, wherever they stand."""
    if isinstance(content, dict):
        own = {content["chartTitle"]} if isinstance(content.get("chartTitle"), str) else set()
        return own.union(*map(titles, content.values()))
    return set().union(*map(titles, content)) if isinstance(content, list) else set()


def test_offline_it_writes_what_it_would_send(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--offline", "--project", "mine", "--entity", "us"]) == 0
    assert "what would be sent:" in capsys.readouterr().out
    sent = json.loads(Path("outputs/dashboards/workspace.json").read_text())
    assert (sent["entity"], sent["project"]) == ("us", "mine")
    sections = sent["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == ["Overview", "PPO health", "Sweep", "Evaluation", "Over tokens"]
    wanted = {*dashboard.OVERVIEW, *dashboard.HEALTH}
    assert wanted <= titles(sent)
    report = json.loads(Path("outputs/dashboards/report.json").read_text())
    assert wanted <= titles(report) and report["project"]["name"] == "mine"
    assert [block["type"] for block in report["spec"]["blocks"]].count("panel-grid") == 4
    assert all(name in json.dumps(content) for name in dashboard.JUDGED for content in (sent, report))


def test_without_a_key_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(dashboard, "logged_in_as", lambda: None)
    assert main([]) == 0
    assert "no connection to W&B" in capsys.readouterr().out


class Saved:
    """Stands for a workspace or report of the server."""

    def __init__(self, url: str, log: list[str]) -> None:
        self.url, self.log, self.sections, self.blocks = url, log, None, None

    def save(self) -> Saved:
        self.log.append(f"save {self.url}")
        return self


def test_a_second_time_it_updates(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    log: list[str] = []
    before = {f"https://w/{name}": Saved(f"https://w/{name}", log) for name in ("Workspace", "Report")}
    for cls in (ws.Workspace, wr.Report):
        url = f"https://w/{cls.__name__}"
        monkeypatch.setattr(cls, "save", lambda self, url=url: log.append(f"make {url}") or Saved(url, log))
        monkeypatch.setattr(cls, "from_url", classmethod(lambda cls, url: before[url]))
    monkeypatch.setattr(dashboard, "logged_in_as", lambda: "me")
    assert main([]) == 0
    assert log == ["make https://w/Workspace", "make https://w/Report"]
    assert "made or updated:\n  https://w/Workspace\n  https://w/Report" in capsys.readouterr().out
    assert main([]) == 0
    assert log[2:] == ["save https://w/Workspace", "save https://w/Report"]
    assert before["https://w/Workspace"].sections and before["https://w/Report"].blocks

    def refuse(cls: Any, url: str) -> Any:
        raise RuntimeError("permission\ndenied")

    monkeypatch.setattr(ws.Workspace, "from_url", classmethod(refuse))
    assert main([]) == 2
    assert capsys.readouterr().err.strip() == "W&B refused the workspace: permission denied"
