"""Votes become comparisons, rankings and labels that the readers of training data read, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf.data.readers import read
from rlhf.data.records import Comparison, Labelled, Prompt, Ranking
from rlhf.errors import DataError
from rlhf.evaluation.intervals import wilson
from rlhf.labelling.annotations import prompt_in, read_annotations
from rlhf.labelling.desk import Desk
from rlhf.labelling.export import COMPARISONS, LABELS, comparisons_of, labels_of, write
from rlhf.labelling.questions import make_question
from rlhf.labelling.results import wins_of
from rlhf.labelling.vote_log import FILE, Said, read_votes

MakeDesk = Callable[..., Desk]
PROMPT = Prompt.of("q")
TALK = Prompt((("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c")))


def vote(desk: Desk, said: Said, annotator: str = "ada") -> None:
    state = desk.state(annotator)
    desk.vote(annotator, state["turn"], state["question"]["id"], said)


def exported(desk: Desk, folder: Path) -> list[Path]:
    lines = read_votes(desk.log.path)
    return write(folder, comparisons_of(lines), labels_of(lines))


@pytest.mark.parametrize("prompt", [PROMPT, TALK], ids=["text", "messages"])
def test_a_comparison_is_read_as_one(make_desk: MakeDesk, tmp_path: Path, prompt: Prompt) -> None:
    desk = make_desk([make_question("pairs", prompt, ("x", "y"))])
    shown = desk.state("ada")["question"]["responses"]
    vote(desk, Said((2, 1), comment="a long reason, " * 20 + "\nin two lines"))
    assert exported(desk, tmp_path) == [tmp_path / COMPARISONS]
    (found,) = read(tmp_path / COMPARISONS, "comparisons").items
    assert found == Comparison(prompt, shown[1], shown[0])
    record = json.loads((tmp_path / COMPARISONS).read_text())
    assert record["annotator"] == "ada" and record["time"] and record["id"] == desk.questions[0].id
    assert prompt_in(read_votes(desk.log.path)[0]) == prompt


def test_ties_rankings_and_the_best_keep_their_ranks(make_desk: MakeDesk, tmp_path: Path) -> None:
    texts = ("x", "y", "z")
    for task, ranks in (("ranking", (1, 3, 2)), ("best", (2, 1, 2)), ("pairs", (1, 1))):
        question = make_question(task, PROMPT, texts[: len(ranks)])
        desk = make_desk([question])
        places = desk.state("ada")["question"]["responses"]
        vote(desk, Said(ranks))
        (found, *_) = read_votes(desk.log.path)
        assert dict(zip(found["responses"], found["ranks"], strict=True)) == dict(zip(places, ranks, strict=True))
        exported(desk, tmp_path)
        (record,) = read(tmp_path / COMPARISONS, "comparisons").items
        assert isinstance(record, Ranking) and len(record.pairs()) == {"ranking": 3, "best": 2, "pairs": 0}[task]
        desk.log.close()
        desk.log.path.unlink()


def test_the_best_says_nothing_of_the_others(make_desk: MakeDesk) -> None:
    """They share a rank, which is no tie between their models."""
    sources = ("a", "b", "c")
    desk = make_desk([make_question("best", PROMPT, ("of a", "of b", "of c"), sources)])
    shown = desk.state("ada")["question"]["responses"]
    vote(desk, Said(tuple(1 if text == "of b" else 2 for text in shown)))
    found = wins_of(read_votes(desk.log.path))
    assert {name: rate["rate"] for name, rate in found.items()} == {"a>b": 0, "b>c": 1}


def test_two_people_who_agree_about_a_question_are_as_sure_as_one(make_desk: MakeDesk) -> None:
    desk = make_desk([make_question("pairs", PROMPT, ("of a", "of b"), ("a", "b"))])
    for annotator in ("ada", "bob"):
        shown = desk.state(annotator)["question"]
        said = Said((1, 2) if shown["responses"][0] == "of a" else (2, 1))
        desk.vote(annotator, 0, shown["id"], said)
    found = wins_of(read_votes(desk.log.path))["a>b"]
    assert (found["n"], found["low"], found["high"]) == (2, *wilson(1, 1))


def test_thumbs_are_labels_and_no_comparisons(make_desk: MakeDesk, tmp_path: Path) -> None:
    desk = make_desk([make_question("thumbs", TALK, (text,)) for text in ("x", "y", "z")])
    for desirable in (True, False, None):
        vote(desk, Said(desirable=desirable))
    assert exported(desk, tmp_path) == [tmp_path / LABELS]
    found = read(tmp_path / LABELS, "labels").items
    texts = [question.responses[0] for question in desk.questions]
    assert found == [Labelled(TALK, texts[0], True), Labelled(TALK, texts[1], False)]


def test_what_is_undone_or_skipped_is_not_exported(make_desk: MakeDesk, tmp_path: Path) -> None:
    desk = make_desk()
    vote(desk, Said((1, 2)))
    assert exported(desk, tmp_path) != []
    desk.undo("ada", 1)
    desk.skip("ada", 2, desk.state("ada")["question"]["id"])
    assert exported(desk, tmp_path) == [] and not (tmp_path / COMPARISONS).exists()


def test_the_log_itself_is_no_training_data(make_desk: MakeDesk, tmp_path: Path) -> None:
    """It holds votes that were taken back."""
    desk = make_desk()
    vote(desk, Said((1, 2)))
    with pytest.raises(DataError):
        read(tmp_path / FILE, "comparisons")
    with pytest.raises(DataError):
        read(tmp_path / FILE, "labels")


def test_exported_votes_and_the_log_are_the_same_annotations(make_desk: MakeDesk, tmp_path: Path) -> None:
    desk = make_desk()
    for annotator in ("ada", "bob"):
        for said in (Said((1, 2)), Said((2, 1)), Said((1, 1))):
            vote(desk, said, annotator)
    desk.undo("bob", 3)
    exported(desk, tmp_path)
    desk.log.close()
    names = ("annotator", "question", "responses", "ranks", "prompt")
    logged = [{name: line.get(name) for name in names} for line in read_annotations(tmp_path)]
    again = [{name: line.get(name) for name in names} for line in read_annotations(tmp_path / COMPARISONS)]
    assert len(logged) == 5 and [{**line, "question": ""} for line in logged] == [
        {**line, "question": ""} for line in again
    ]
    assert len({line["question"] for line in again}) == len({line["question"] for line in logged}) == 3


def test_files_without_annotators_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:1: .*annotator"):
        read_annotations(tmp_path / "a.jsonl")
