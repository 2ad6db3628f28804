"""The page's server: what it shows comes from a desk, and what is clicked goes there."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rlhf.errors import UserError
from rlhf.labelling.arena import Arena, Heard
from rlhf.labelling.desk import Desk, Refused, Stale
from rlhf.labelling.vote_log import Said
from rlhf.plain_text import printable
from rlhf.storage.shapes import fits
from verbs.web.bodies import Unusable, read_json_body
from verbs.web.guard import Guard

ASSETS = Path(__file__).parent / "assets"
LARGEST = 200_000
"""Bytes of a request."""

log = logging.getLogger("rlhf")


class Asked(TypedDict):
    """What the page sends."""

    annotator: str
    turn: int
    question: NotRequired[str]
    ranks: NotRequired[list[int] | None]
    order: NotRequired[list[int]]
    desirable: NotRequired[bool | None]
    comment: NotRequired[str]
    text: NotRequired[str]


Act = Callable[[Desk, Asked], None]


def _vote(desk: Desk, asked: Asked) -> None:
    ranks = asked.get("ranks")
    said = Said(tuple(ranks) if ranks is not None else None, asked.get("desirable"), asked.get("comment", "").strip())
    desk.vote(asked["annotator"], asked["turn"], asked.get("question", ""), said, asked.get("order"))


def _skip(desk: Desk, asked: Asked) -> None:
    desk.skip(asked["annotator"], asked["turn"], asked.get("question", ""))


def _undo(desk: Desk, asked: Asked) -> None:
    desk.undo(asked["annotator"], asked["turn"])


def _say(desk: Desk, asked: Asked, heard: Heard) -> None:
    if not isinstance(desk, Arena):
        raise Refused("there is nobody to talk to")
    desk.say(asked["annotator"], asked["turn"], asked.get("text", ""), heard)


def _reset(desk: Desk, asked: Asked) -> None:
    if not isinstance(desk, Arena):
        raise Refused("there is no conversation")
    desk.reset(asked["annotator"], asked["turn"])


ACTS: dict[str, Act] = {"vote": _vote, "skip": _skip, "undo": _undo, "reset": _reset}


def build_app(desk: Desk, language: str = "en", host: str = "127.0.0.1", token: str = "") -> Starlette:
    """The application around a desk.

    Answers: 200 with the page's next state; 409 with it, where the turn that was sent is over; 400 with a sentence
    where what was sent is impossible; 507 where a vote could not be written. What models say comes as lines of JSON:
    `{"place": 0, "piece": "…"}` while they write, at last the state, with its status as `status`.
    """

    async def page(_: Request) -> Response:
        text = (ASSETS / "page.html").read_text(encoding="utf-8")
        return Response(text.replace("{language}", language), media_type="text/html")

    async def state(request: Request) -> Response:
        return await _answer(desk, request.query_params.get("annotator", ""), None)

    async def act(request: Request) -> Response:
        does = ACTS[request.url.path.rsplit("/", 1)[-1]]
        asked = await _read(request)
        if asked is None:
            return JSONResponse({"error": "not a request of this page"}, 400)
        return await _answer(desk, asked["annotator"], lambda: does(desk, asked))

    async def say(request: Request) -> Response:
        asked = await _read(request)
        if asked is None:
            return JSONResponse({"error": "not a request of this page"}, 400)
        return StreamingResponse(_spoken(desk, asked), media_type="application/x-ndjson")

    routes = [Route("/", page), Route("/api/state", state), Route("/api/say", say, methods=["POST"])]
    routes += [Route(f"/api/{name}", act, methods=["POST"]) for name in ACTS]
    routes += [Route(f"/{name}", _asset(name)) for name in ("page.js", "words.js", "page.css")]
    return Starlette(routes=routes, middleware=[Middleware(Guard, host=host, token=token)])


def _asset(name: str) -> Callable[[Request], Any]:
    async def serve_asset(_: Request) -> Response:
        return FileResponse(ASSETS / name)

    return serve_asset


async def _read(request: Request) -> Asked | None:
    """What was sent; `None` where it is nothing that the page sends."""
    try:
        asked = await read_json_body(request, LARGEST)
    except Unusable:
        return None
    return asked if fits(asked, Asked) else None


async def _spoken(desk: Desk, asked: Asked) -> AsyncIterator[str]:
    """What both models write, as it comes, and what comes next."""
    loop, pieces = asyncio.get_running_loop(), asyncio.Queue[tuple[int, str] | None]()

    def heard(place: int, piece: str) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody reads
            loop.call_soon_threadsafe(pieces.put_nowait, (place, piece))

    # Whoever closes the window finds the answers when they come back.
    task = asyncio.create_task(_after(desk, asked["annotator"], lambda: _say(desk, asked, heard)))
    _SPEAKING.add(task)
    task.add_done_callback(_SPEAKING.discard)
    task.add_done_callback(lambda _: pieces.put_nowait(None))
    while (found := await pieces.get()) is not None:
        yield json.dumps({"place": found[0], "piece": printable(found[1])}) + "\n"
    status, state = task.result()
    yield json.dumps({"status": status, **state}) + "\n"


_SPEAKING: set[asyncio.Task[Any]] = set()
"""Held here, since a loop forgets tasks that nobody else knows."""


async def _answer(desk: Desk, annotator: str, act: Callable[[], None] | None) -> Response:
    status, found = await _after(desk, annotator, act)
    return JSONResponse(found, status)


async def _after(desk: Desk, annotator: str, act: Callable[[], None] | None) -> tuple[int, dict[str, Any]]:
    """Do it, and say what comes next: a status and the state."""
    status, error = 200, None
    try:
        if act is not None:
            await run_in_threadpool(act)
    except Stale as stale:
        status, error = 409, str(stale)
    except (Refused, UserError) as refused:
        status, error = 400, str(refused)
    except OSError as failed:
        log.error("%s: a vote could not be written: %s", desk.log.path, failed.strerror or failed)
        status, error = 507, f"the vote could not be written: {failed.strerror or failed}"
    try:
        found = await run_in_threadpool(desk.state, annotator)
    except Refused as refused:
        return 400, {"error": str(refused)}
    return status, found | ({"error": error} if error else {})
