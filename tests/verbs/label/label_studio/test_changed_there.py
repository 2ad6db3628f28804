"""What was deleted or changed in Label Studio itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from studio_server import Exchange, Studio, better, votes, write

from rlhf.errors import UserError
from verbs.label import label_studio


def test_deleted_tasks_are_not_sent_again_and_their_votes_stay(
    exchange: Exchange, studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    exchange()
    q1 = studio.about("q1")
    studio.annotate(q1, 1, better(q1, "good q1"))
    exchange()
    del studio.tasks[q1["id"]]
    exchange()
    assert "1 tasks were deleted there" in caplog.text
    assert len(studio.tasks) == 3 and len(votes()) == 1


def test_a_deleted_project_is_said(exchange: Exchange, studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    exchange()
    studio.tasks.clear()
    del studio.projects[2]
    with pytest.raises(UserError, match=r"^project: "):
        exchange()
    write("q1")
    exchange()
    assert "no longer has project 2" in caplog.text


def test_a_new_project_after_the_old_one_takes_no_votes_back(exchange: Exchange, studio: Studio) -> None:
    """A server that was set up anew counts its annotations from 1 again."""
    exchange()
    q1 = studio.about("q1")
    studio.annotate(q1, 1, better(q1, "good q1"))
    q2 = studio.about("q2")
    studio.annotate(q2, 1, better(q2, "good q2"))
    exchange()
    studio.tasks.clear()
    studio.projects = {7: {"id": 7, "title": "other"}}
    (Path("votes") / label_studio.STATE).unlink()
    exchange()
    assert len(votes()) == 2
    q1 = studio.about("q1")
    studio.annotate(q1, 1, better(q1, "bad q1"))
    exchange()
    assert [said for *_, said in votes()] == [["bad q1", "good q1"], ["good q2", "bad q2"]]


def test_another_projects_configuration(exchange: Exchange, studio: Studio) -> None:
    studio.make("votes pairs", '<View><Text name="t"/><Choices name="better" toName="t"/></View>')
    with pytest.raises(UserError, match=r"^project: votes pairs "):
        exchange()
    assert not studio.tasks
    exchange(project="mine")
    assert "mine pairs" in {project["title"] for project in studio.projects.values()}


def test_tasks_that_were_changed_there_are_left_out(
    exchange: Exchange, studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    exchange()
    q1, q2 = studio.about("q1"), studio.about("q2")
    for task in (q1, q2):
        studio.annotate(task, 1, better(task, task["data"]["answer1"]))
    q1["data"]["answer1"] += "!"
    q3 = studio.about("q3")
    studio.annotate(q3, 1, better(q3, "good q3"))
    q3["data"]["shown"].reverse()
    studio.tasks[99] = {"id": 99, "project": 1, "data": {"text": "mine"}, "annotations": []}
    exchange()
    assert "3 tasks are not of this labelling" in caplog.text
    assert [prompt for _, _, prompt, _ in votes()] == ["q2"]
