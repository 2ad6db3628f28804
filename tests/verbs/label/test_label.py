"""`python label.py`: what is refused, where votes go, what is printed of agreement."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.app import Program
from launch.planner import Point
from rlhf.config import LabelConfig
from rlhf.config.address import TOKEN
from rlhf.data.readers import read
from rlhf.errors import ConfigError, DataError
from rlhf.labelling.desk import Desk
from rlhf.labelling.vote_log import FILE, Said, VoteLog
from rlhf.runs import Parent, Summary
from verbs.label.agreement import report_agreement
from verbs.label.label import check_folder, desk_of, export, folder_of, run_label
from verbs.label.reading import checks_in, questions_in

PANDALM = Path(__file__).parents[3].parent / "shared" / "data" / "pandalm" / "testset.jsonl.gz"

Main = Callable[..., int]


def judge(point: Point, overrides: list[str]) -> None:
    """Judge."""
    run_label(point.config, point.parents)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, program_folder: Path) -> Main:
    """`main("path=a.jsonl")` is `python label.py path=a.jsonl`; returns the exit code."""
    monkeypatch.delenv(TOKEN, raising=False)
    (program_folder / "a.jsonl").write_text('{"prompt": "q", "responses": ["x", "y"]}\n')
    return lambda *arguments: Program("label", talk=judge).main(list(arguments))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("", "path"),
        ("path=missing.jsonl", "path"),
        ("path=a.jsonl run=.", "run"),
        ("models.a=somewhere", "models.b"),
        ("task=best", "task"),
        ("task=bets path=a.jsonl", "task"),
        ("votes_per_question=2 agreement=a.jsonl", "votes_per_question"),
        ("reward_model=somewhere path=a.jsonl", "reward_model"),
        ("path=a.jsonl host=0.0.0.0", "host"),
        ("path=a.jsonl port=70000", "port"),
        ("path=a.jsonl rollout=vllm", "rollout.engine"),
        ("agreement=a.jsonl", "agreement"),
        ("-m path=a.jsonl seed=1,2", "--multirun"),
    ],
)
def test_refusals(main: Main, capsys: pytest.CaptureFixture[str], line: str, key: str) -> None:
    assert main(*line.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{key}: ") or (key == "agreement" and "a.jsonl:1" in said), said
    assert said.count("\n") == 1


def test_a_short_token_is_refused(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN, "short")
    assert main("path=a.jsonl", "host=0.0.0.0") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{TOKEN}: ") and "short" not in said


def test_answers_of_every_kind_of_file(tmp_path: Path) -> None:
    lines = {
        "unranked": {"prompt": "q", "responses": ["x", "y"]},
        "objects": {"prompt": "q", "responses": [{"text": "x"}, {"text": "y"}]},
        "ranked": {"prompt": "q", "responses": [{"text": "x", "rank": 2}, {"text": "y", "rank": 1}]},
        "pairs": {"prompt": "q", "chosen": "y", "rejected": "x"},
        "evaluation": {"prompt": [["user", "q"]], "answers": {"sft": {"response": "x"}, "ppo": {"response": "y"}}},
    }
    found = {}
    for name, line in lines.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps(line) + "\n")
        (found[name],) = questions_in(path, "auto", 1)
    assert len({question.id for question in found.values()}) == 1, "the same question, whatever the file says of it"
    question = found["evaluation"]
    assert dict(zip(question.responses, question.sources, strict=True)) == {"x": "sft", "y": "ppo"}
    (tmp_path / "one.jsonl").write_text('{"prompt": "q", "response": "x"}\n')
    with pytest.raises(DataError, match="path: "):
        questions_in(tmp_path / "one.jsonl", "auto", 1)
    assert len(questions_in(tmp_path / "one.jsonl", "thumbs", 1)) == 1
    (tmp_path / "bad.jsonl").write_text('{"prompt": "q", "responses": ["x", "y"]}\n{"prompt": 3}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2: "):
        questions_in(tmp_path / "bad.jsonl", "auto", 1)


def test_folders(tmp_path: Path) -> None:
    names = [folder_of(LabelConfig(path=f"{place}/a.jsonl.gz")) for place in ("x", "y")]
    assert names[0] != names[1] and all(name.name.startswith("a-") for name in names)
    assert folder_of(LabelConfig(run="runs/1")) == Path("runs/1/spot_check")
    (tmp_path / "labels.jsonl").write_text("mine\n")
    with pytest.raises(ConfigError, match="out: "):
        check_folder(tmp_path)
    (tmp_path / FILE).write_text("")
    check_folder(tmp_path)


@pytest.mark.parametrize(("votes", "n"), [("each", 3), ("majority", 1), ("weighted", 1)])
def test_votes_of_several_people_become_training_data(tmp_path: Path, votes: str, n: int) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "q", "responses": ["x", "y"]}\n')
    config = LabelConfig(path=str(tmp_path / "a.jsonl"), out=str(tmp_path / "out"), votes=votes)
    desk = desk_of(config, tmp_path / "out", {})
    for annotator, preferred in (("ada", "x"), ("bob", "x"), ("eve", "y")):
        state = desk.state(annotator)
        first = state["question"]["responses"][0] == preferred
        desk.vote(annotator, 0, state["question"]["id"], Said((1, 2) if first else (2, 1)))
    desk.log.close()
    export(config, tmp_path / "out")
    found = read(tmp_path / "out" / "comparisons.jsonl", "comparisons").items
    assert len(found) == n and found[0].chosen == "x"


@pytest.fixture
def checked(tmp_path: Path) -> Path:
    """A run with two samples for each of ten prompts, of which the higher score is deserved in eight."""
    folder = tmp_path / "run"
    folder.mkdir()
    Summary(status="finished", algo="ppo", model="tiny", data="assistant").write(folder)
    (folder / "metrics.csv").write_text("step,val/score\n0,2\n10,1\n")
    samples = [
        {"step": step, "prompt": [["user", f"q{i}"]], "response": f"{text} {i}", "score": score * (1 + i)}
        for i in range(10)
        for step, text, score in ((0, "low", 0.1), (10, "high", 0.2))
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    desk = Desk(checks_in(folder, 1), VoteLog(folder / "spot_check"), 1)
    for i in range(10):
        state = desk.state("ada")
        question = state["question"]
        high = int(question["responses"][1].startswith("high"))
        assert question["scores"][high] > question["scores"][1 - high]
        better = high if i < 8 else 1 - high
        desk.vote("ada", i, question["id"], Said((1, 2) if better == 0 else (2, 1)))
    desk.log.close()
    return folder


def test_a_spot_check_is_in_the_report_and_makes_comparisons(checked: Path) -> None:
    from verbs.report import write_report

    export(LabelConfig(run=str(checked)), checked / "spot_check")
    found = read(checked / "spot_check" / "comparisons.jsonl", "comparisons").items
    assert [record.chosen[:4] for record in found].count("high") == 8
    page = write_report(checked).read_text(encoding="utf-8")
    assert "80.0% of 10 votes" in page and 'id="spot_check"' in page
    table = (checked / "report_files" / "spot_check.csv").read_text()
    assert table.startswith("run,gap,share,low,high,n\n") and len(table.splitlines()) == 3


def test_a_run_without_scores_can_not_be_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run: "):
        checks_in(tmp_path, 1)


def test_agreement_is_printed_and_written(main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"prompt": f"q{i}", "chosen": "x", "rejected": "y", "annotator": name}
        for i in range(4)
        for name in ("ada", "bob")
    ]
    lines[-1] |= {"chosen": "y", "rejected": "x"}
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main("agreement=b.jsonl", "out=out", "votes=majority") == 0
    record = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert record["agreement"]["share"] == 0.75 and record["agreement"]["n"] == 4
    assert [set(dispute["votes"].values()) for dispute in record["disputes"]] == [{"the first", "the second"}]
    # Two labels agree in three of four: ε = (1 − √(2·¾ − 1)) / 2 = 0.146, and of two that agree ε² / (ε² + (1 − ε)²).
    assert record["noise"]["label"] == pytest.approx(0.1464, abs=1e-4)
    assert "algo.label_smoothing=" in capsys.readouterr().out
    assert len(read(tmp_path / "out" / "comparisons.jsonl", "comparisons").items) == 4
    assert main("agreement=b.jsonl", "out=out", "votes=majority") == 0, "the same command again"


def test_agreement_of_one_person_is_none(main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"prompt": f"q{i}", "chosen": "xy"[i % 2], "rejected": "yx"[i % 2], "annotator": "ada"} for i in range(9)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main("agreement=b.jsonl", "out=out", "votes=weighted") == 0
    assert "all say the same" not in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert record["several"] == 0 and record["annotators"]["ada"]["accuracy"] is None
    found = read(tmp_path / "out" / "comparisons.jsonl", "comparisons").items
    assert sorted(record.chosen for record in found) == ["x"] * 5 + ["y"] * 4


def test_a_reward_model_beside_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prefers the longer answer, which is x in all questions but the third."""
    texts = [("xx", "y"), ("xx", "y"), ("x", "yy"), ("xx", "y")]
    said = ["xxx", "xxy", "yyy", "ttx"]
    lines: list[dict] = []
    for i, ((x, y), votes) in enumerate(zip(texts, said, strict=True)):
        for name, vote in zip(("ada", "bob", "eve"), votes, strict=True):
            ranks = {"x": (1, 2), "y": (2, 1), "t": (1, 1)}[vote]
            answers = [{"text": text, "rank": rank} for text, rank in zip((x, y), ranks, strict=True)]
            lines.append({"prompt": f"q{i}", "responses": answers, "annotator": name})
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    class Longer:
        def scores(self, prompts: list, answers: list[str]) -> list[float]:
            return [float(len(answer)) for answer in answers]

    monkeypatch.setattr("verbs.finished_model.load_reward_judge", lambda *_: Longer())
    config = LabelConfig(agreement=str(tmp_path / "b.jsonl"), out=str(tmp_path / "out"))
    report_agreement(config, {"reward_model": Parent("folder", tmp_path)})
    found = json.loads((tmp_path / "out" / "agreement.json").read_text())["reward_model"]
    # Decided majorities: q0, q1, q2, all as it says. Votes without ties: 3 + 3 + 3 + 1, of which it contradicts one.
    assert (found["accuracy"]["share"], found["accuracy"]["n"]) == (1.0, 3)
    assert (found["with_people"]["share"], found["with_people"]["n"]) == (0.9, 10)
    # Pairs of them: 3 of 3, 1 of 3, 3 of 3.
    assert (found["people"]["share"], found["people"]["n"]) == (pytest.approx(7 / 9), 9)


@pytest.mark.skipif(not PANDALM.exists(), reason="PandaLM's test set is not here")
def test_pandalm(main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"agreement={PANDALM}", "out=out", "votes=majority") == 0
    record = json.loads((tmp_path / "out" / "agreement.json").read_text())
    # As the package krippendorff has it: 0.865233 and 0.871567.
    assert record["alpha"]["nominal"]["value"] == pytest.approx(0.865233, abs=1e-6)
    assert record["alpha"]["ordinal"]["value"] == pytest.approx(0.871567, abs=1e-6)
    assert record["items"] == 689 and record["agreement"]["n"] == 3 * 689
    assert record["noise"]["label"] == pytest.approx(0.0288, abs=1e-4)
    ours = read(tmp_path / "out" / "comparisons.jsonl", "comparisons").items
    # Some of its answers are empty.
    theirs = read(PANDALM, "comparisons", on_error="skip").items

    def pairs(records: list) -> list[tuple[str, str, str]]:
        found = []
        for record in records:
            if hasattr(record, "chosen"):
                found.append((record.prompt.text, record.chosen, record.rejected))
            else:
                found += [(record.prompt.text, record.responses[a], record.responses[b]) for a, b in record.pairs()]
        return sorted(found)

    assert pairs(ours) == pairs(theirs) and len(pairs(ours)) > 500, "the importer's own majority"
    assert "algo.label_smoothing=0.003" in capsys.readouterr().out
