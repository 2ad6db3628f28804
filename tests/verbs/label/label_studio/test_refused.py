"""Tokens, and what goes wrong on the way; no message and no file has a token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from studio_server import KEY, PERSONAL, TOKEN, Exchange, Main, Studio, better

from rlhf.errors import UserError
from verbs.label import label_studio
from verbs.label.label_studio_api import LabelStudio


def test_a_personal_token_gets_others_when_they_end(
    exchange: Exchange, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, PERSONAL)
    exchange()
    assert studio.refreshed == 1
    tasks = LabelStudio.tasks

    def ended(server: LabelStudio, project: int) -> Any:
        studio.access.clear()
        return tasks(server, project)

    monkeypatch.setattr(LabelStudio, "tasks", ended)
    exchange()
    assert studio.refreshed == 4
    monkeypatch.setenv(KEY, PERSONAL[:-3] + "xyz")
    with pytest.raises(UserError, match=r"^key_env: ") as refused:
        exchange()
    assert "eyJ" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ("url=null", "url"),
        ("url=studio:8080", "url"),
        ("url=http://ada:secret@studio:8080", "url"),
        ("path=null", "path"),
        ("task=best", "task"),
        ("task=thumbs", "task"),
        ("path=null run=.", "path"),
        ("key_env=" + TOKEN, "key_env"),
        ("key_env=NOT_SET", "key_env"),
        ("project=" + "x" * 41, "project"),
        ("project=" + TOKEN, "project"),
        ("tool=page project=x", "url"),
        ("tool=page url=null project=x", "project"),
        ("tool=labelstudio", "tool"),
    ],
)
def test_refusals(main: Main, studio: Studio, told: Callable[[], str], arguments: str, key: str) -> None:
    assert main(*arguments.split()) == 2
    said = told()
    assert said.startswith(f"{key}: ") and "\n" not in said and not studio.requests, said
    assert TOKEN not in said and "secret" not in said


@pytest.mark.parametrize("before", [0, 1, 4], ids=["first", "second", "tasks"])
@pytest.mark.parametrize(
    ("fault", "key"),
    [(httpx.ConnectError("refused"), "url"), (404, "url"), (302, "url"), (500, "url"), (401, "key_env")],
    ids=str,
)
def test_what_a_server_may_say(
    exchange: Exchange, studio: Studio, fault: int | Exception, key: str, before: int
) -> None:
    """From the first request on, from the second one, or when tasks are asked for; no message has the token."""
    studio.broken = before, fault
    with pytest.raises(UserError, match=f"^{key}: ") as refused:
        exchange()
    assert TOKEN not in str(refused.value) and "\n" not in str(refused.value)


def test_a_busy_server_is_asked_again(exchange: Exchange, studio: Studio) -> None:
    studio.faults = [503, 429, 502]
    exchange()


def test_another_server_in_place_of_the_one_that_was(exchange: Exchange, studio: Studio) -> None:
    exchange()
    with pytest.raises(UserError, match=r"^url: "):
        exchange(url="http://elsewhere.test")
    (Path("votes") / label_studio.STATE).write_text('{"url": 3}')
    with pytest.raises(UserError):
        exchange()
    (Path("votes") / label_studio.STATE).write_text("{")
    with pytest.raises(UserError):
        exchange()


def test_the_token_is_written_nowhere(main: Main, studio: Studio, told: Callable[[], str]) -> None:
    main()
    q1 = studio.about("q1")
    studio.annotate(q1, 1, better(q1, "good q1"))
    main()
    assert TOKEN not in told()
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert len(files) > 3 and not [path for path in files if TOKEN in path.read_text(errors="replace")]
