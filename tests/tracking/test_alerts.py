from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from tracking.alerts import Alerts


class Logger(WandbLogger):
    """Keeps alerts instead of sending them."""

    def __init__(self, broken: bool = False) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.broken = broken

    @property
    def experiment(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(alert=self._alert)

    def _alert(self, **fields: Any) -> None:
        if self.broken:
            raise ConnectionError("no server")
        self.alerts.append(fields)


def trainer(*loggers: Any) -> Any:
    return SimpleNamespace(is_global_zero=True, loggers=list(loggers))


def write(directory: Path, length: int) -> None:
    (directory / "metrics.csv").write_text(f"step,val/score,val/length\n0,0,10\n10,1,{length}\n")


def test_each_symptom_is_told_once(tmp_path: Path) -> None:
    logger, alerts = Logger(), Alerts(tmp_path, "ppo")
    write(tmp_path, 12)
    alerts.on_validation_end(trainer(logger), None)
    assert logger.alerts == []
    write(tmp_path, 20)
    for _ in range(2):
        alerts.on_validation_end(trainer(logger), None)
    assert [alert["title"] for alert in logger.alerts] == ["Reward hacking"]
    assert "from 10.0 to 20.0 tokens" in logger.alerts[0]["text"]


def test_nothing_stops_a_run(tmp_path: Path) -> None:
    alerts = Alerts(tmp_path, "ppo")
    alerts.on_validation_end(trainer(), None)  # neither W&B nor files
    write(tmp_path, 20)
    alerts.on_validation_end(trainer(Logger(broken=True)), None)
    assert alerts.told == {"length"}
