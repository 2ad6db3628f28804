"""The server's routes: OpenAI's chat completions, over one model."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rlhf.config.address import TOKEN
from rlhf.config.sources import SamplingConfig
from rlhf.errors import DataError, first_line
from rlhf.rollout.growing_text import GrowingText
from rlhf.rollout.sampling import Completion, Sampling
from verbs.finished_model import Loaded
from verbs.serve.batches import Batches, Ended, Failed, Full, Job
from verbs.serve.chat_request import ChatRequest, Wrong, read_request
from verbs.web.bodies import Unusable, read_json_body
from verbs.web.guard import Guard

LARGEST = 1 << 20
"""Bytes of a request."""


@dataclass(frozen=True)
class Served:
    """A model and what is said of it.

    Attributes:
        name: what clients call it.
        usual: how is sampled where a request does not say.
        created: seconds since 1970.
    """

    name: str
    loaded: Loaded
    batches: Batches
    usual: SamplingConfig
    created: int = field(default_factory=lambda: int(time.time()))
    _tokenising: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def tokens(self, asked: ChatRequest) -> tuple[int, ...]:
        """The tokens of a conversation, none of them cut.

        Raises:
            Wrong: it does not fit, or the model's template does not write it.
        """
        try:
            with self._tokenising:
                tokens = self.loaded.template.prompt(asked.prompt).ids
        except DataError as error:
            raise Wrong("messages", f"the model's chat template does not take them: {error}") from error
        if len(tokens) >= self.loaded.max_length:
            raise Wrong(
                "messages",
                f"{len(tokens):,} tokens, and with its answer a conversation may have {self.loaded.max_length:,}; "
                "shorten it",
                code="context_length_exceeded",
            )
        return tokens

    def sampling(self, asked: ChatRequest, tokens: Sequence[int]) -> Sampling:
        """How to draw; an answer ends where the context does."""
        longest = asked.max_tokens or self.loaded.max_new_tokens
        room = self.loaded.max_length - len(tokens)
        return Sampling(min(longest, room), asked.temperature, asked.top_k, asked.top_p, asked.n)


def build_app(served: Served, host: str = "127.0.0.1", token: str = "") -> Starlette:
    """The application. What can't be answered gets OpenAI's error object, with a sentence."""

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(served)]})

    async def model(request: Request) -> Response:
        if request.path_params["name"] != served.name:
            return refusal(f"model: {served.name} is served here, and no other", 404, "model", "model_not_found")
        return JSONResponse(_model(served))

    async def complete(request: Request) -> Response:
        try:
            asked = read_request(await read_json_body(request, LARGEST), served.name, served.usual)
            tokens = await run_in_threadpool(served.tokens, asked)
            if asked.stream:
                return _streamed(served, asked, tokens)
            job = served.batches.submit(tokens, served.sampling(asked, tokens), asked.seed)
            drawn = await _answer(job, request)
            return JSONResponse(_completion(served, asked, tokens, drawn))
        except Unusable as error:
            return refusal(str(error), error.status)
        except Wrong as error:
            return refusal(str(error), error.status, error.param, error.code)
        except Full as error:
            return refusal(str(error), 429)
        except Ended as error:
            return refusal(str(error), 503)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except Failed as error:
            return refusal(str(error), 500)

    async def failed(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = "GET /v1/models and POST /v1/chat/completions are what this server answers"
        return refusal(said, error.status_code)

    routes = [
        Route("/v1/models", models),
        Route("/v1/models/{name}", model),
        Route("/v1/chat/completions", complete, methods=["POST"]),
    ]
    unknown = f"send the value of {TOKEN} as Authorization: Bearer"
    guard = Middleware(Guard, host=host, token=token, unknown=unknown, refuse=refusal)
    return Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: failed})


async def _answer(job: Job, request: Request) -> list[Completion]:
    """What was drawn. A client that hangs up, such as one that asks again after a while, is no longer waited for.

    Raises:
        ClientDisconnect: it did.
        Ended, Failed: there is no answer.
    """
    answer = asyncio.wrap_future(job.answer)
    gone = asyncio.ensure_future(_hung_up(request))
    await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if not answer.done():
        job.left = True
        answer.cancel()
        raise ClientDisconnect
    return answer.result()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def refusal(message: str, status: int, param: str | None = None, code: str | None = None) -> Response:
    """An error object as OpenAI's clients read it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def _model(served: Served) -> dict[str, Any]:
    about = {"id": served.name, "object": "model", "created": served.created, "owned_by": "rlhf-lab"}
    return about | {"max_model_len": served.loaded.max_length}


def _head(served: Served, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": served.name,
    }


def _completion(
    served: Served, asked: ChatRequest, tokens: Sequence[int], drawn: Sequence[Completion]
) -> dict[str, Any]:
    choices = []
    for completion in drawn:
        text = GrowingText(served.loaded.template, asked.stops)
        written = "".join([*map(text.push, completion.tokens), text.end()])
        message = {"role": "assistant", "content": written, "refusal": None}
        reason = _reason(completion, text)
        choices.append({"index": completion.sample, "message": message, "logprobs": None, "finish_reason": reason})
    return {**_head(served, "chat.completion"), "choices": choices, "usage": _usage(tokens, drawn)}


def _reason(completion: Completion, text: GrowingText) -> str:
    return "stop" if completion.finished or text.stopped else "length"


def _usage(tokens: Sequence[int], drawn: Sequence[Completion]) -> dict[str, int]:
    """The prompt counts once, however many answers it gets; the token that ends an answer counts."""
    written = sum(len(completion.tokens) for completion in drawn)
    return {
        "prompt_tokens": len(tokens),
        "completion_tokens": written,
        "total_tokens": len(tokens) + written,
    }


def _streamed(served: Served, asked: ChatRequest, tokens: Sequence[int]) -> Response:
    """Server-sent events, one for each piece of text, and `[DONE]`.

    Raises:
        Full, Ended: it is not even queued.
    """
    loop = asyncio.get_running_loop()
    drawn: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()

    def tell(item: tuple[int, int] | None) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody reads
            loop.call_soon_threadsafe(drawn.put_nowait, item)

    job = served.batches.submit(
        tokens, served.sampling(asked, tokens), asked.seed, lambda sample, token: tell((sample, token))
    )
    job.answer.add_done_callback(lambda _: tell(None))
    head = _head(served, "chat.completion.chunk")
    texts = [GrowingText(served.loaded.template, asked.stops) for _ in range(asked.n)]

    def chunk(index: int, delta: dict[str, str], reason: str | None = None) -> str:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _event({**head, "choices": [choice]})

    async def events() -> AsyncIterator[str]:
        try:
            for index in range(asked.n):
                yield chunk(index, {"role": "assistant", "content": ""})
            while (item := await drawn.get()) is not None:
                index, token = item
                if piece := texts[index].push(token):
                    yield chunk(index, {"content": piece})
            if (error := job.answer.exception()) is not None:
                yield _event({"error": {"message": first_line(error), "type": "server_error", "code": None}})
                return
            found = job.answer.result()
            for completion, text in zip(found, texts, strict=True):
                if piece := text.end():
                    yield chunk(completion.sample, {"content": piece})
                yield chunk(completion.sample, {}, _reason(completion, text))
            if asked.usage:
                yield _event({**head, "choices": [], "usage": _usage(tokens, found)})
            yield "data: [DONE]\n\n"
        finally:
            job.left = True

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
