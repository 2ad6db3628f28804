"""Who may talk to a server: this machine, or whoever knows the token; never another site in the browser."""

from __future__ import annotations

import hmac
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rlhf.config.address import is_loopback

COOKIE = "rlhf-lab-token"
HEADERS = {
    # Nothing on the page comes from elsewhere, and nothing in it may become code.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets requests through that come from this server's own page, or from a program.

    Args:
        host: that the server is bound to. Bound to loopback and without a token, it answers to loopback's names alone:
            a web site whose name was pointed to 127.0.0.1 (DNS rebinding) is another name.
        token: that a request must know, by cookie, by `Authorization: Bearer`, or once by `?token=`; empty: none.
        unknown: what whoever does not know it is told.
        refuse: makes a response of a sentence and a status.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        token: str,
        unknown: str = "open this page with ?token=… once, or ask whoever started it for the link",
        refuse: Callable[[str, int], Response] = PlainTextResponse,
    ) -> None:
        self.app, self.host, self.token = app, host, token
        self.unknown, self.refuse = unknown, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # There are no WebSockets.
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        try:
            refusal = self._refusal(Request(scope))
        except ValueError:  # such as http://[
            refusal = self.refuse("Host or Origin is no address", 400)
        if refusal is not None:
            await _with_headers(refusal)(scope, receive, send)
            return
        await self.app(scope, receive, _adding_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        if is_loopback(self.host) and not self.token and not is_loopback(_name(headers)):
            return self.refuse("this server answers to 127.0.0.1 and localhost alone", 403)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return self.refuse("another site's page may not talk to this server", 403)
        if request.method == "POST" and headers.get("content-type", "").split(";")[0] != "application/json":
            # What a form of another site can send without asking first is none of these.
            return self.refuse("send JSON, and Content-Type: application/json", 415)
        if not self.token:
            return None
        given = request.query_params.get("token")
        if given is not None and self._right(given) and request.method == "GET":
            left = [(k, v) for k, v in parse_qsl(request.url.query) if k != "token"]
            found = RedirectResponse(request.url.path + ("?" + urlencode(left) if left else ""), 303)
            # Not strict: after a link in a chat or a mail, a browser keeps such a cookie back from the redirect too.
            found.set_cookie(COOKIE, given, httponly=True, samesite="lax")
            return found
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self._right(request.cookies.get(COOKIE, "")) or self._right(bearer):
            return None
        return self.refuse(self.unknown, 401)

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _name(headers: Headers) -> str:
    """The host that was asked for, without its port."""
    return urlsplit("//" + headers.get("host", "")).hostname or ""


def _with_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response


def _adding_headers(send: Send) -> Send:
    async def with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return with_headers
