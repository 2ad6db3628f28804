"""What evaluate.py and collect.py tell Weights & Biases, read back from their offline runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from wandb_file import OfflineRun

from collect import collect
from rlhf.config import EvaluateConfig
from rlhf.data.files.values import file_sha256
from rlhf.errors import DataError
from rlhf.evaluation.findings import Finding
from rlhf.evaluation.outcome import Evaluation
from rlhf.runs import Run, Summary, weights_sha256
from tracking import verbs, wandb_logger
from tracking.groups import GROUP

pytestmark = pytest.mark.ci

Main = Callable[[str], int]
COMPARED = "models.base={b} models.sft={a} +models.again={a} evaluation.reward_model={r} evaluation.guide=false"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No account, no group of another test, and nothing of this one left behind."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_MODE", "WANDB_SILENT", GROUP):
        # Set first, so that what a test leaves there is taken away after it.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def main(main_evaluate: Main) -> Main:
    return main_evaluate


@pytest.fixture
def symptoms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models have none that could be relied on."""
    findings = [
        Finding("mode_collapse", "same_answer", None, {"share": 0.9, "n": 12}, subject) for subject in ("base", "sft")
    ]
    monkeypatch.setattr(verbs, "read_evaluation", lambda _: SimpleNamespace(findings=lambda: findings))


def result(name: str = "evaluation.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("out", name).read_text(encoding="utf-8"))
    return found


def test_an_evaluation(main: Main, models: Path, symptoms: None) -> None:
    assert main(f"{COMPARED} logger.wandb=offline logger.tags=[mine] logger.group=g logger.project=p") == 0
    logged, written = OfflineRun(Path("out")), result()
    run = logged.run
    assert (run.job_type, run.run_group, run.project, logged.exit_code) == ("evaluate", "g", "p", 0)
    assert run.display_name == f"evaluate · base vs sft vs again · assistant · {Summary.read(Path('out')).id}"
    assert set(run.tags) == {"evaluate", "assistant", "mine"}
    assert logged.config["evaluation"]["best_of"] == 5 and logged.config["seed"] == 1

    for name in ("base", "sft", "again"):
        for metric in ("score", "kl", "length", "bits_per_byte", "reward"):
            assert logged.summary[f"eval/{name}/{metric}"] == written["models"][name][metric]
    assert logged.summary["eval/best-of-5/reward"] == written["best_of_n"]["reward"]
    assert logged.summary["eval/sft>base"] == written["win_rates"]["sft>base"]["rate"]
    assert logged.summary["eval/reward_model/accuracy"] == written["reward_model"]["accuracy"]

    rates = logged.table("eval/win_rates")
    rows = [dict(zip(rates["columns"], row, strict=True)) for row in rates["data"]]
    assert [row["pair"] for row in rows] == list(written["win_rates"])
    for row, rate in zip(rows, written["win_rates"].values(), strict=True):
        assert [row[name] for name in ("won", "tied", "lost")] == [rate[name] for name in ("wins", "ties", "losses")]
        assert row["low"] == pytest.approx(rate["low"], abs=1e-6) and row["high"] >= row["rate"] >= row["low"]

    answers = logged.table("eval/answers")
    lines = [json.loads(line) for line in Path("out", "answers.jsonl").read_text("utf-8").splitlines()]
    assert len(answers["data"]) == len(lines) == 12
    for row, line in zip(answers["data"], lines, strict=True):
        shown = dict(zip(answers["columns"], row, strict=True))
        assert shown["prompt"] == line["prompt"][0][1] and shown["category"] == line["category"]
        for name, answer in line["answers"].items():
            assert shown[f"{name} answer"] == answer["response"]
            assert shown[f"{name} score"] == pytest.approx(answer["score"])
            assert shown[f"{name} reward"] == pytest.approx(answer["reward"], abs=1e-5)

    (page,) = (logged.folder / "files" / "media" / "html").rglob("*.html")
    assert page.read_bytes() == Path("out", "report.html").read_bytes()
    assert logged.alerts == ["base: Mode collapse", "sft: Mode collapse"]

    used = {a.name: a for a in logged.artifacts if a.used}
    hashes = {name: weights_sha256(models / name)[:8] for name in "abr"}
    assert sum(a.used for a in logged.artifacts) == len(used) == 4, "a model under two names is one artifact"
    assert {f"{name}-{digest}" for name, digest in hashes.items()} <= set(used)
    (made,) = [a for a in logged.artifacts if not a.used]
    assert (made.type, made.name, made.files) == (
        "evaluation",
        f"evaluate-{Summary.read(Path('out')).id}",
        ["card.json"],
    )
    assert made.metadata["sha256"] == file_sha256(Path("out", "evaluation.json"))


def test_a_reward_models_verdicts_with_files_and_the_environments_group(
    main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GROUP, "pipeline-1")
    line = "models.base={b} models.sft={a} evaluation.reward_model={r} evaluation.guide=false evaluation.best_of=1"
    assert main(f"{line} evaluation.judge=reward logger.wandb=offline logger.artifacts=files") == 0
    logged = OfflineRun(Path("out"))
    assert logged.run.run_group == "pipeline-1"
    (made,) = [a for a in logged.artifacts if not a.used]
    assert set(made.files) == {"card.json", "evaluation.json", "answers.jsonl", "report.html"}
    (row,), rate = logged.table("eval/win_rates")["data"], result()["win_rates"]["sft>base"]
    assert row[4:8] == [rate["wins"], rate["ties"], rate["losses"], 12] and rate["wins"] != rate["losses"]
    columns = ["prompt", "category", "base answer", "base score", "sft answer", "sft score"]
    assert logged.table("eval/answers")["columns"] == columns, "the reward is the score"


def test_empty_tables_are_left_out() -> None:
    assert verbs.tables(Evaluation([], [], {}, "none", "")) == {}


def test_nobody_is_told_unless_asked(main: Main) -> None:
    assert main("models.sft={a} evaluation.reward_model=null evaluation.guide=false evaluation.texts=0") == 0
    assert not Path("out", "wandb").exists() and Summary.read(Path("out")).wandb_id is None


def test_a_collection(models: Path, program_folder: Path) -> None:
    prompts = "data=jsonl data.path=prompts.txt data.val_fraction=0 data.test_fraction=0 rollout.max_new_tokens=6"
    Path("prompts.txt").write_text("Write a poem.\nSing a song.\n", encoding="utf-8")
    ranker = f"model.init={models}/a collect.annotator=reward collect.reward_model={models}/r"
    line = f"{prompts} {ranker} logger.wandb=offline logger.artifacts=files hydra.run.dir=out"
    assert collect.main(line.split()) == 0
    logged, file = OfflineRun(Path("out")), Path("out", "preferences.jsonl")
    assert (logged.run.job_type, logged.exit_code) == ("collect", 0)
    assert logged.run.display_name == f"collect · jsonl · {result('summary.json')['id']}"
    assert set(logged.run.tags) == {"collect", "jsonl"}
    assert logged.summary["collect/rankings"] == 2 == result("summary.json")["final"]["rankings"]
    used = {a.name: a.type for a in logged.artifacts if a.used}
    digests = {name: weights_sha256(models / name)[:8] for name in "ar"}
    prompts_name = f"file-{file_sha256('prompts.txt')[:8]}"
    assert used == {prompts_name: "dataset", **{f"{name}-{digest}": "model" for name, digest in digests.items()}}
    (made,) = [a for a in logged.artifacts if not a.used]
    assert (made.type, made.name) == ("dataset", f"file-{file_sha256(file)[:8]}")
    assert set(made.files) == {"card.json", "preferences.jsonl"} and made.metadata["rankings"] == 2


def test_a_server_that_cannot_be_reached_stops_nothing(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb.teardown()  # What was logged before was offline, which the library would remember.
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the port of the discard service: nobody is there
    monkeypatch.setattr(wandb_logger, "REACHED_WITHIN", 1.0)
    line = "models.sft={a} evaluation.reward_model=null evaluation.guide=false evaluation.texts=0"
    assert main(f"{line} logger=wandb") == 0
    assert "the server did not let this run in" in capsys.readouterr().out
    assert OfflineRun(Path("out")).summary["eval/sft/score"] == result()["models"]["sft"]["score"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, "0123abcd")


@pytest.fixture
def config() -> EvaluateConfig:
    found = EvaluateConfig()
    found.logger.wandb = "offline"
    return found


def test_without_the_librarys_service_nothing_is_logged_and_nothing_stops(
    run: Run, config: EvaluateConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no service")

    monkeypatch.setattr(verbs, "build_wandb", broken)
    with verbs.wandb_run_of(config, run, "evaluate") as wandb_run:
        assert wandb_run is None
    assert "no run could be started: no service" in caplog.text


class Broken:
    """A W&B run that nothing can be told; it keeps the codes that it should end with."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    def finish(self, code: int) -> None:
        self.codes.append(code)
        raise ConnectionError("gone meanwhile")

    def __getattr__(self, name: str) -> Any:
        raise ConnectionError(f"{name}: gone meanwhile")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    found = Broken()
    monkeypatch.setattr(verbs, "build_wandb", lambda *_: SimpleNamespace(experiment=found))
    return found


@pytest.mark.parametrize(("error", "code"), [(None, 0), (DataError("no data"), 1), (KeyboardInterrupt(), 1)])
def test_a_run_ends_as_the_verb_does(
    run: Run, config: EvaluateConfig, broken: Broken, error: BaseException | None, code: int
) -> None:
    with (
        pytest.raises(type(error)) if error is not None else nullcontext(),
        verbs.wandb_run_of(config, run, "evaluate"),
    ):
        if error is not None:
            raise error
    assert broken.codes == [code]


def test_what_cannot_be_sent_is_told_and_nothing_stops(
    main: Main, broken: Broken, symptoms: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("models.base={b} models.sft={a} evaluation.guide=false evaluation.texts=0 logger.wandb=offline") == 0
    assert Summary.read(Path("out")).status == "finished" and broken.codes == [0]
    told = capsys.readouterr().out
    for what in ("the configuration", "the metrics", "the tables", "the report", "an alert", "artifacts", "the end of"):
        assert f"\nW&B: {what}" in told, what
