"""Label Studio in memory, and what people do there.

What it answers is what version 1.23.2 answers; tests/integration/label_studio.sh runs the same against that one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx

from rlhf.labelling.vote_log import FILE, read_votes, standing

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
