"""`python label.py tool=label-studio`: what is sent, what is taken, and what goes wrong, against a server in memory.

What it answers is what version 1.23.2 answers; tests/integration/label_studio.sh runs the same against that one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from launch.app import Program
from launch.planner import Point
from rlhf.config import LabelConfig
from rlhf.data.readers import read
from rlhf.data.records import Comparison, Ranking
from rlhf.errors import UserError
from rlhf.labelling.label_studio_tasks import question_in
from rlhf.labelling.vote_log import FILE, read_votes, standing
from verbs.label import label_studio
from verbs.label.label import run_label
from verbs.label.label_studio_api import LabelStudio
from verbs.label.reading import questions_in

URL, KEY = "http://studio.test:8080", "LABEL_STUDIO_API_KEY"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"
HTML = "<script>alert(1)</script> & <b>bold</b>\n  "


class Studio:
    """A server in memory.

    Attributes:
        access: short-lived tokens that it takes. faults: what the next requests get in place of an answer; broken:
        after how many requests all get what. requests: method and path of each.
    """

    def __init__(self) -> None:
        self.users = [
            {"id": 1, "username": "ada", "email": "ada@example.test", "first_name": "Ada", "last_name": "Lovelace"},
            {"id": 2, "username": "bob", "email": "bob@example.test", "first_name": "", "last_name": ""},
        ]
        self.projects: dict[int, dict[str, Any]] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.access: set[str] = set()
        self.refreshed = 0
        self.faults: list[int | Exception] = []
        self.broken: tuple[int, int | Exception] | None = None
        self.requests: list[str] = []
        self.slow_imports = False
        self.clock = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.path}")
        broken = self.broken is not None and len(self.requests) > self.broken[0]
        if broken or self.faults:
            fault = self.broken[1] if broken and self.broken else self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return httpx.Response(fault, json={"detail": f"you sent {request.headers.get('Authorization')}"})
        if request.url.path == "/api/version":
            return httpx.Response(200, json={"release": "1.23.2"})
        if request.url.path == "/api/token/refresh":
            if json.loads(request.content)["refresh"] != PERSONAL:
                return httpx.Response(401, json={"detail": "Token is invalid"})
            self.refreshed += 1
            self.access = {f"access-{self.refreshed}"}
            return httpx.Response(200, json={"access": f"access-{self.refreshed}"})
        if request.headers.get("Authorization") not in {f"Token {TOKEN}", *(f"Bearer {one}" for one in self.access)}:
            return httpx.Response(401, json={"detail": f"Invalid token {request.headers.get('Authorization')}"})
        body = json.loads(request.content) if request.content else None
        status, answer = self.answer(request.method, request.url.path, dict(request.url.params), body)
        return httpx.Response(status, json=answer)

    def answer(self, method: str, path: str, params: dict[str, str], body: Any) -> tuple[int, Any]:
        if path == "/api/current-user/whoami":
            return 200, self.users[0]
        if path == "/api/users/":
            return 200, self.users
        if path == "/api/projects/" and method == "GET":
            return 200, {"count": len(self.projects), "next": None, "results": list(self.projects.values())}
        if path == "/api/projects/":
            return 201, self.make(**body)
        if path == "/api/tasks/":
            mine = [task for task in self.tasks.values() if task["project"] == int(params["project"])]
            size, page = int(params["page_size"]), int(params["page"])
            return 200, {"tasks": mine[(page - 1) * size : page * size], "total": len(mine)}
        number, rest = re.fullmatch(r"/api/projects/(\d+)/(.*)", path).groups()  # type: ignore[union-attr]
        if (project := self.projects.get(int(number))) is None:
            return 404, {"detail": "Not Found"}
        if rest.startswith("imports/"):
            return 200, {"status": "completed"}
        if rest == "import":
            for one in body:
                task = max(self.tasks, default=0) + 1
                self.tasks[task] = {"id": task, "project": project["id"], "data": one["data"], "annotations": []}
            return 201, {"import": 7} if self.slow_imports else {"task_count": len(body)}
        if method == "PATCH":
            project |= body
        return 200, project

    def make(self, title: str, label_config: str, **fields: Any) -> dict[str, Any]:
        parsed = {
            tag.attrib["name"]: {"type": tag.tag, "to_name": tag.attrib["toName"].split(",")}
            for tag in ElementTree.fromstring(label_config).iter()
            if "toName" in tag.attrib
        }
        number = len(self.projects) + 1
        made = {"id": number, "title": title, "label_config": label_config, "parsed_label_config": parsed, **fields}
        self.projects[number] = made | {"created_at": f"2026-11-28T10:00:0{number}.000000Z"}
        return self.projects[number]

    def annotate(
        self, task: dict[str, Any], person: int, result: list[dict[str, Any]], **fields: Any
    ) -> dict[str, Any]:
        """Add an annotation, which can be changed and given to `touch`."""
        number = 1 + max((one["id"] for each in self.tasks.values() for one in each["annotations"]), default=100)
        made = {"id": number, "completed_by": person, "was_cancelled": False, "result": result, **fields}
        task["annotations"].append(made)
        return self.touch(made)

    def touch(self, annotation: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Change it, a second later."""
        self.clock += 1
        annotation |= fields | {"updated_at": f"2026-11-28T11:{self.clock // 60:02}:{self.clock % 60:02}.123456Z"}
        return annotation

    def about(self, text: str) -> dict[str, Any]:
        """The task whose prompt is this."""
        return next(task for task in self.tasks.values() if task["data"]["prompt"] == text)


def better(task: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """One answer is better."""
    side = "left" if task["data"]["answer1"] == text else "right"
    return [{"from_name": "better", "to_name": "better", "type": "pairwise", "value": {"selected": side}}]


TIED = [{"from_name": "tie", "to_name": "prompt", "type": "choices", "value": {"choices": ["tie"]}}]


def ranked(task: dict[str, Any], *texts: str) -> list[dict[str, Any]]:
    """An order, best first."""
    ids = [next(item["id"] for item in task["data"]["items"] if item["body"] == text) for text in texts]
    return [{"from_name": "rank", "to_name": "answers", "type": "ranker", "value": {"ranker": {"rank": ids}}}]


Exchange = Callable[..., None]
Main = Callable[..., int]


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Studio:
    """The server that every client reaches; the working folder has questions for it."""
    found = Studio()
    made = partial(LabelStudio, transport=httpx.MockTransport(found), sleep=lambda seconds: None)
    monkeypatch.setattr(label_studio, "LabelStudio", made)
    monkeypatch.setenv(KEY, TOKEN)
    monkeypatch.chdir(tmp_path)
    write("q1 q2 q3", "r1")
    return found


@pytest.fixture
def exchange(studio: Studio, caplog: pytest.LogCaptureFixture) -> Exchange:
    """`exchange(seed=2)` is `python label.py tool=label-studio path=a.jsonl out=votes seed=2`."""
    caplog.set_level("INFO", "rlhf")
    usual = {"tool": "label-studio", "url": URL, "path": "a.jsonl", "out": "votes"}

    def run(**given: Any) -> None:
        caplog.clear()
        run_label(LabelConfig(**usual | given), {})

    return run


@pytest.fixture
def main(studio: Studio, program_folder: Path) -> Main:
    """The same as a program; returns the exit code."""

    def judge(point: Point, overrides: list[str]) -> None:
        """Judge."""
        run_label(point.config, point.parents)

    line = ["tool=label-studio", f"url={URL}", "path=a.jsonl", "out=votes"]
    return lambda *arguments: Program("label", talk=judge).main([*line, *arguments])


def write(pairs: str, rankings: str = "") -> None:
    """Questions about pairs, and about four answers."""
    lines = [{"prompt": name, "responses": [f"good {name}", f"bad {name}"]} for name in pairs.split()]
    lines += [{"prompt": name, "responses": [f"{name} {i}" for i in "abcd"]} for name in rankings.split()]
    Path("a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def votes() -> list[tuple[str, str, str, Any]]:
    """What stands: event, annotator, prompt, and the answers from the best to the worst, or their ranks."""
    found = []
    for line in standing(read_votes(Path("votes") / FILE)):
        ranks = line.get("ranks")
        if ranks is not None and len(set(ranks)) == len(ranks):
            said: Any = [text for _, text in sorted(zip(ranks, line["responses"], strict=True))]
        else:
            said = ranks
        found.append((line["event"], line["annotator"], line["prompt"], said))
    return sorted(found, key=str)


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


def test_another_labelling_of_the_same_name_takes_its_own_votes(exchange: Exchange, studio: Studio) -> None:
    exchange()
    for name in ("q1", "q2"):
        studio.annotate(studio.about(name), 1, better(studio.about(name), f"good {name}"))
    write("q2 q9")
    exchange(out="other/votes")
    assert len(studio.projects) == 2 and len(studio.tasks) == 5, "q2 is there"
    found = read_votes(Path("other/votes") / FILE)
    assert [line["prompt"] for line in found] == ["q2"]


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


def test_votes_of_several_people(exchange: Exchange, studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    exchange()
    q1, q2, q3, r1 = (studio.about(name) for name in ("q1", "q2", "q3", "r1"))
    studio.annotate(q1, 1, better(q1, "good q1"))
    studio.annotate(q1, 2, better(q1, "bad q1"))
    studio.annotate(q2, 1, TIED)
    studio.annotate(q2, 2, [], was_cancelled=True)
    studio.annotate(q3, 1, [])
    studio.annotate(q3, 2, [*TIED, *better(q3, "good q3")])
    studio.annotate(r1, {"id": 2, "email": "bob@example.test"}, ranked(r1, *(f"r1 {i}" for i in "cabd")))
    studio.annotate(r1, 1, ranked(r1, "r1 a", "r1 b"))
    exchange()
    said = caplog.text
    assert votes() == [
        ("skip", "bob", "q2", None),
        ("vote", "Ada Lovelace", "q1", ["good q1", "bad q1"]),
        ("vote", "Ada Lovelace", "q2", [1, 1]),
        ("vote", "bob", "q1", ["bad q1", "good q1"]),
        ("vote", "bob", "r1", [f"r1 {i}" for i in "cabd"]),
    ]
    assert "6 annotations, of which 1 skipped, 1 without a choice, 1 contradictory" in said
    assert "2 annotations, of which 0 skipped, 0 without a choice, 1 contradictory" in said
    assert "1 questions were judged by several people, who differ about 1" in said
    assert "4 votes and 1 skips by 2 people" in said
    found = read(Path("votes") / "comparisons.jsonl", "comparisons")
    assert [type(item) for item in found.items] == [Comparison, Comparison, Ranking, Ranking]
    before = (Path("votes") / FILE).read_bytes()
    exchange()
    assert (Path("votes") / FILE).read_bytes() == before, "a second time takes nothing"


def test_the_newest_vote_counts(exchange: Exchange, studio: Studio) -> None:
    exchange()
    q1 = studio.about("q1")
    first = studio.annotate(q1, 1, better(q1, "good q1"))
    exchange()
    studio.touch(first, result=better(q1, "bad q1"))
    exchange()
    assert votes() == [("vote", "Ada Lovelace", "q1", ["bad q1", "good q1"])]
    second = studio.annotate(q1, 1, TIED)
    exchange()
    exchange()
    assert votes() == [("vote", "Ada Lovelace", "q1", [1, 1])]
    events = [line["event"] for line in read_votes(Path("votes") / FILE)]
    assert events == ["vote", "undo", "vote", "undo", "vote"]
    q1["annotations"].remove(second)
    exchange()
    assert votes() == [("vote", "Ada Lovelace", "q1", ["bad q1", "good q1"])], "what is left is the newest"
    studio.touch(first, was_cancelled=True)
    exchange()
    assert votes() == [("skip", "Ada Lovelace", "q1", None)]
    q1["annotations"].clear()
    exchange()
    exchange()
    assert votes() == [] and len(read_votes(Path("votes") / FILE)) == 10


def test_names_stay_and_no_two_are_the_same(exchange: Exchange, studio: Studio) -> None:
    exchange()
    studio.users.append({"id": 3, "username": "x", "first_name": "Ada", "last_name": "Lovelace"})
    studio.users.append({"id": 4, "username": "a\u202eb@example.test", "first_name": "", "last_name": ""})
    q1 = studio.about("q1")
    for person in (1, 3, 4, 9):
        studio.annotate(q1, person, better(q1, "good q1"))
    exchange()
    names = ["Ada Lovelace", "Ada Lovelace (3)", "user 4", "user 9"]
    assert sorted(name for _, name, *_ in votes()) == names
    studio.users[0]["last_name"] = "King"
    q2 = studio.about("q2")
    studio.annotate(q2, 1, better(q2, "good q2"))
    exchange()
    assert {name for _, name, *_ in votes()} == {*names}
    everything = "".join(path.read_text() for path in Path("votes").iterdir())
    assert "@" not in everything, "addresses are no training data"


def test_an_undo_on_the_page_stands_until_the_annotation_changes(exchange: Exchange, studio: Studio) -> None:
    from rlhf.labelling.desk import Desk
    from rlhf.labelling.vote_log import VoteLog

    exchange()
    q1 = studio.about("q1")
    given = studio.annotate(q1, 1, better(q1, "good q1"))
    exchange()
    log = VoteLog(Path("votes"))
    desk = Desk(questions_in(Path("a.jsonl"), "auto", 1), log, 1)
    desk.undo("Ada Lovelace", desk.state("Ada Lovelace")["turn"])
    log.close()
    exchange()
    assert votes() == []
    studio.touch(given)
    exchange()
    assert votes() == [("vote", "Ada Lovelace", "q1", ["good q1", "bad q1"])]


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


def test_an_export_of_such_a_project_is_read(exchange: Exchange, studio: Studio) -> None:
    """By training, without this program."""
    exchange()
    q1, q2, q3, r1 = (studio.about(name) for name in ("q1", "q2", "q3", "r1"))
    studio.annotate(q1, 1, better(q1, "good q1"))
    studio.annotate(q2, 1, TIED)
    studio.annotate(q3, 1, [*TIED, *better(q3, "good q3")])
    studio.annotate(r1, 1, ranked(r1, *(f"r1 {i}" for i in "dcba")))
    Path("export.json").write_text(json.dumps(list(studio.tasks.values())))
    found = read(Path("export.json"), "comparisons")
    one, two, three = found.items
    assert isinstance(one, Comparison) and (one.chosen, one.rejected) == ("good q1", "bad q1")
    assert isinstance(two, Ranking) and two.ranks == (1, 1)
    assert isinstance(three, Ranking) and three.best == "r1 d"
    assert found.counts["read"] == 4
