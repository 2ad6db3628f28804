"""What is sent: questions, once, as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from studio_server import HTML, TIED, Exchange, Studio, better, votes, write

from rlhf.errors import UserError
from rlhf.labelling.label_studio_tasks import question_in
from rlhf.labelling.vote_log import FILE, read_votes
from verbs.label import label_studio
from verbs.label.label_studio_api import LabelStudio
from verbs.label.reading import questions_in


def test_questions_become_tasks_once(exchange: Exchange, studio: Studio) -> None:
    exchange()
    pairs, ranking = studio.projects.values()
    assert (pairs["title"], ranking["title"]) == ("votes pairs", "votes ranking")
    assert [one["enable_empty_annotation"] for one in studio.projects.values()] == [False, True]
    assert len(studio.tasks) == 4
    asked = {question.id: question for question in questions_in(Path("a.jsonl"), "auto", 1)}
    for task in studio.tasks.values():
        assert question_in(task["data"]) == asked[task["data"]["question"]]
        assert task["project"] == (1 if task["data"]["task"] == "pairs" else 2)
    exchange()
    assert len(studio.tasks) == 4 and len(studio.projects) == 2
    write("q1 q2 q4", "r1")
    exchange()
    assert sorted(task["data"]["prompt"] for task in studio.tasks.values()) == ["q1", "q2", "q3", "q4", "r1"]


def test_a_changed_question_is_a_new_one(exchange: Exchange, studio: Studio) -> None:
    exchange()
    Path("a.jsonl").write_text('{"prompt": "q1", "responses": ["good q1", "worse q1"]}\n')
    exchange()
    assert len(studio.tasks) == 5
    both = [task for task in studio.tasks.values() if task["data"]["prompt"] == "q1"]
    for task in both:
        studio.annotate(task, 1, better(task, "good q1"))
    exchange()
    assert [said for *_, said in votes()] == [["good q1", "bad q1"], ["good q1", "worse q1"]]


def test_a_folder_that_was_lost_finds_its_projects_and_tasks(exchange: Exchange, studio: Studio) -> None:
    exchange()
    task = studio.about("q1")
    studio.annotate(task, 1, better(task, "good q1"))
    exchange()
    (Path("votes") / label_studio.STATE).unlink()
    exchange()
    assert (len(studio.projects), len(studio.tasks), len(votes())) == (2, 4, 1)


def test_sides_are_drawn_and_recorded(exchange: Exchange, studio: Studio) -> None:
    write(" ".join(f"q{i}" for i in range(40)))
    exchange()
    left = [task["data"]["answer1"].startswith("good") for task in studio.tasks.values()]
    # Within five standard deviations, √(40/4), of one half.
    assert 4 < sum(left) < 36
    for task in studio.tasks.values():
        studio.annotate(task, 1, better(task, task["data"]["answer1"]))
    exchange()
    for line in read_votes(Path("votes") / FILE):
        task = studio.about(line["prompt"])
        assert line["shown"] == task["data"]["shown"]
        assert line["responses"][line["shown"][0]] == task["data"]["answer1"]
        assert line["responses"][line["ranks"].index(1)] == task["data"]["answer1"]


def test_texts_arrive_as_they_are(exchange: Exchange, studio: Studio) -> None:
    talk = [{"role": "user", "content": HTML}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "$q"}]
    line = {"prompt": talk, "responses": [HTML, f"{HTML}2"]}
    Path("a.jsonl").write_text(json.dumps(line) + "\n")
    exchange(language="zh")
    (task,) = studio.tasks.values()
    assert sorted((task["data"]["answer1"], task["data"]["answer2"])) == sorted(line["responses"])
    studio.annotate(task, 1, better(task, HTML))
    exchange()
    assert votes() == [("vote", "Ada Lovelace", talk, line["responses"])]
    tree = ElementTree.fromstring(studio.projects[1]["label_config"])
    assert {tag.tag for tag in tree.iter()} == {"View", "Header", "Text", "Pairwise", "Choices", "Choice"}
    assert all(tag.attrib["valueType"] == "text" for tag in tree.iter("Text")), "no address is followed"
    assert [tag.attrib["alias"] for tag in tree.iter("Choice")] == ["tie"]


def test_who_wrote_an_answer_is_not_sent_and_is_known_afterwards(exchange: Exchange, studio: Studio) -> None:
    line = {"prompt": [["user", "q"]], "answers": {"sft-1": {"response": "x"}, "ppo-1": {"response": "y"}}}
    Path("a.jsonl").write_text(json.dumps(line) + "\n")
    exchange()
    (task,) = studio.tasks.values()
    assert "sft-1" not in json.dumps([task, studio.projects])
    studio.annotate(task, 1, better(task, "y"))
    exchange()
    (vote,) = read_votes(Path("votes") / FILE)
    assert dict(zip(vote["responses"], vote["sources"], strict=True)) == {"x": "sft-1", "y": "ppo-1"}


def test_votes_per_question(exchange: Exchange, studio: Studio) -> None:
    exchange()
    assert studio.projects[1]["maximum_annotations"] == label_studio.EVERYBODY
    exchange(votes_per_question=2)
    assert studio.projects[1]["maximum_annotations"] == 2
    exchange()
    assert studio.projects[1]["maximum_annotations"] == 2


def test_many_tasks_are_sent_and_read_in_parts(
    exchange: Exchange, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_studio, "BATCH", 7)
    monkeypatch.setattr("verbs.label.label_studio_api.PAGE", 6)
    write(" ".join(f"q{i}" for i in range(18)))
    exchange()
    assert len(studio.tasks) == 18 and studio.requests.count("POST /api/projects/1/import") == 3
    for task in studio.tasks.values():
        studio.annotate(task, 2, TIED)
    exchange()
    assert len(votes()) == 18


def test_an_import_that_failed_in_the_middle_is_completed(
    exchange: Exchange, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server took the second part, and its answer was lost."""
    monkeypatch.setattr(label_studio, "BATCH", 2)
    send = LabelStudio.send

    def lost(server: LabelStudio, project: int, data: Any) -> None:
        send(server, project, data)
        if len(studio.tasks) > 2:
            studio.faults.append(httpx.ReadTimeout("timed out"))
            send(server, project, data)

    monkeypatch.setattr(LabelStudio, "send", lost)
    with pytest.raises(UserError, match=r"^url: "):
        exchange()
    monkeypatch.setattr(LabelStudio, "send", send)
    exchange()
    assert len(studio.tasks) == 4


def test_imports_that_take_their_time(exchange: Exchange, studio: Studio) -> None:
    studio.slow_imports = True
    exchange()
    assert "GET /api/projects/1/imports/7/" in studio.requests
