"""What is asked of a server of Label Studio, by its REST API.

Not by its SDK: version 2.1.2 brings 33 packages, OpenCV, NLTK and a code formatter among them, and takes numpy back to
2.2; what is needed here are six addresses.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx

from rlhf.errors import EndpointError
from rlhf.evaluation.judges.secret import Secret
from rlhf.plain_text import one_line
from rlhf.storage.reading import Unreadable, parse_json

PAGE = 100
"""Tasks or projects of one answer."""
BATCH = 200
"""Tasks of one request."""
TIMEOUT = 120.0
"""Seconds; a server with SQLite imports some hundreds of tasks a second."""
TRY_AGAIN = (429, 502, 503, 504)
ATTEMPTS = 4
LARGEST = 1 << 28
"""Bytes of an answer."""
SAID = 300
"""Characters of what a server says that are repeated."""


class LabelStudio:
    """A server. The token is kept in memory alone, and taken out of whatever the server says.

    Args:
        url: without `/api`.
        token: a personal access token (a JWT, from which short-lived ones are got), or a legacy one.
        key_env: the variable that holds it, for messages.
        transport: of tests.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        url: str,
        token: str,
        key_env: str,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url, self.key_env, self.sleep = url.rstrip("/"), key_env, sleep
        self._token, self._secrets = token, [Secret(token)]
        self._personal = token.startswith("eyJ") and token.count(".") == 2
        self._client = httpx.Client(timeout=TIMEOUT, transport=transport)
        # It would name every request in the log.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        if not self._personal:
            self._client.headers["Authorization"] = f"Token {token}"

    def version(self) -> str:
        """The server's version, once it is known that it takes the token.

        Raises:
            EndpointError: as all of these: it is away, none of Label Studio's, or does not take the token.
        """
        found = self._json("GET", "/api/version", signed=False)
        version = found.get("release") if isinstance(found, dict) else None
        if not isinstance(version, str):
            raise EndpointError(f"url: {self.url} answers, but not as Label Studio does; pass the address of its page")
        self._json("GET", "/api/current-user/whoami")
        return version

    def users(self) -> list[dict[str, Any]]:
        """Those whom the token may see; none where it may not."""
        status, found = self._call("GET", "/api/users/")
        listed = found.get("results", []) if isinstance(found, dict) else found
        return _objects(listed) if status == 200 else []

    def project(self, number: int) -> dict[str, Any] | None:
        """A project; `None` where it was deleted."""
        status, found = self._call("GET", f"/api/projects/{number}/")
        if status == 404:
            return None
        return self._checked(status, found, f"/api/projects/{number}/")

    def projects(self) -> Iterator[dict[str, Any]]:
        """All of them."""
        page = 1
        while True:
            found = self._json("GET", "/api/projects/", params={"page": page, "page_size": PAGE})
            yield from _objects(found.get("results"))
            if not found.get("next"):
                return
            page += 1

    def create(self, **fields: Any) -> dict[str, Any]:
        """Make a project."""
        return self._json("POST", "/api/projects/", body=fields)

    def change(self, number: int, **fields: Any) -> None:
        """Change a project."""
        self._json("PATCH", f"/api/projects/{number}/", body=fields)

    def tasks(self, project: int) -> list[dict[str, Any]]:
        """All tasks with their data and annotations."""
        found: dict[int, dict[str, Any]] = {}
        page = 1
        while True:
            asked = {"project": project, "page": page, "page_size": PAGE, "fields": "all", "resolve_uri": "false"}
            answer = self._json("GET", "/api/tasks/", params=asked)
            tasks = _objects(answer.get("tasks"))
            found |= {task["id"]: task for task in tasks if isinstance(task.get("id"), int)}
            if len(found) >= (answer.get("total") or 0) or len(tasks) < PAGE:
                return list(found.values())
            page += 1

    def send(self, project: int, data: Sequence[Mapping[str, Any]]) -> None:
        """Make a task of each."""
        found = self._json("POST", f"/api/projects/{project}/import", body=[{"data": one} for one in data])
        if (number := found.get("import")) is not None:
            self._wait(f"/api/projects/{project}/imports/{number}/")
        elif found.get("task_count", len(data)) != len(data):
            raise EndpointError(
                f"url: {self.url} took {found['task_count']} of {len(data)} questions; look at project {project} there"
            )

    def _wait(self, address: str) -> None:
        """Until an import is done, which other editions than the free one do later."""
        for _ in range(int(TIMEOUT)):
            found = self._json("GET", address)
            if found.get("status") == "completed":
                return
            if found.get("status") == "failed":
                raise EndpointError(f"url: {self.url} could not import the questions: {self.clean(found.get('error'))}")
            self.sleep(1.0)
        raise EndpointError(f"url: {self.url} is still importing; run the same command again once it is done")

    def _json(self, method: str, address: str, **what: Any) -> dict[str, Any]:
        return self._checked(*self._call(method, address, **what), address)

    def _checked(self, status: int, found: Any, address: str) -> dict[str, Any]:
        if status in (401, 403):
            raise self._not_allowed(status, found)
        if 300 <= status < 400:
            raise EndpointError(f"url: {self.url} sends its visitors to another address ({found}); pass that one")
        if not 200 <= status < 300:
            raise EndpointError(f"url: {self.url}{address} says {status}: {self.clean(found)}")
        if not isinstance(found, dict):
            raise EndpointError(f"url: {self.url} answers, but not as Label Studio does; pass the address of its page")
        return found

    def _call(
        self, method: str, address: str, *, params: Any = None, body: Any = None, signed: bool = True
    ) -> tuple[int, Any]:
        """Status, and what was said: a JSON value, or text where it is none."""
        if signed and self._personal and "Authorization" not in self._client.headers:
            self._refresh()
        for attempt in range(ATTEMPTS):
            status, found, wait = self._once(method, address, params, body)
            if status == 401 and signed and self._personal and attempt == 0:
                self._refresh()  # they end after some minutes
            elif status not in TRY_AGAIN or (method == "POST" and status != 429) or attempt == ATTEMPTS - 1:
                break  # a request to make something may have been obeyed
            else:
                self.sleep(max(wait, 2.0**attempt))
        return status, found

    def _refresh(self) -> None:
        self._client.headers.pop("Authorization", None)
        status, found, _ = self._once("POST", "/api/token/refresh", None, {"refresh": self._token})
        access = found.get("access") if isinstance(found, dict) else None
        if status != 200 or not isinstance(access, str):
            raise self._not_allowed(status, found)
        self._secrets.append(Secret(access))
        self._client.headers["Authorization"] = f"Bearer {access}"

    def _once(self, method: str, address: str, params: Any, body: Any) -> tuple[int, Any, float]:
        content = json.dumps(body, ensure_ascii=False).encode() if body is not None else None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            with self._client.stream(
                method, f"{self.url}{address}", params=params, content=content, headers=headers
            ) as response:
                found = bytearray()
                for part in response.iter_bytes():
                    found += part
                    if len(found) > LARGEST:
                        raise httpx.HTTPError(f"its answer has more than {LARGEST:,} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EndpointError(
                f"url: {self.url} can't be reached ({self.clean(error)}); start the server, or pass another address; "
                "the same command continues"
            ) from None
        if 300 <= response.status_code < 400:
            return response.status_code, self.clean(response.headers.get("location", "")), 0.0
        try:
            value = parse_json(bytes(found))
        except (Unreadable, UnicodeDecodeError):
            value = found.decode("utf-8", "replace")
        return response.status_code, value, _seconds(response.headers.get("retry-after"))

    def _not_allowed(self, status: int, found: Any) -> EndpointError:
        said = found.get("detail", "") if isinstance(found, dict) else ""
        return EndpointError(
            f"key_env: {self.url} says {status} to the token in {self.key_env}"
            f"{f' ({self.clean(said)})' if said else ''}; put one into that variable that the server takes: "
            "Account & Settings, Personal Access Token"
        )

    def clean(self, said: object) -> str:
        """A server's text on one line, without the token, which some servers repeat."""
        text = str(said) or type(said).__name__
        for secret in self._secrets:
            text = secret.taken_out(text)
        return one_line(text[:SAID])


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _seconds(header: str | None) -> float:
    """Of a `Retry-After`; at most a minute."""
    try:
        return min(60.0, max(0.0, float(header or 0)))
    except ValueError:
        return 0.0
