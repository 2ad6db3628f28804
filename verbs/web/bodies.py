"""The body of a request as JSON, whatever was sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

SENDING = 10
"""Seconds within which a request must be there: one that was never finished would keep the server from ending."""


class Unusable(Exception):
    """What was sent is no JSON that a file could hold.

    Attributes:
        status: 400, 408 or 413.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


async def read_json_body(request: Request, largest: int) -> Any:
    """The value that was sent.

    Args:
        largest: bytes that it may have.

    Raises:
        Unusable: see there.
    """
    body = b""
    try:
        async with asyncio.timeout(SENDING):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest:
                    raise Unusable(f"the request has more than {largest:,} bytes", 413)
    except (ClientDisconnect, TimeoutError):  # of a window that was closed nobody reads the answer
        raise Unusable("the request did not come to its end", 408) from None
    try:
        value = json.loads(body)
        body.decode()
        json.dumps(value, ensure_ascii=False).encode()  # half a character would not go into a file
    except (ValueError, RecursionError):
        raise Unusable("the request is no JSON in UTF-8") from None
    return value
