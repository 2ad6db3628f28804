"""Chat completions of an OpenAI-compatible server: cached on disk, counted beforehand, asked again after failures."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx

from rlhf.errors import EndpointError
from rlhf.evaluation.judges.calls import Cache, Estimate, Messages, Prices, Used, tokens_of
from rlhf.evaluation.judges.completion import Completion, read_completion
from rlhf.evaluation.judges.secret import Secret
from rlhf.plain_text import one_line

TRY_AGAIN = (408, 409, 425, 429)
"""Beside 5xx."""
NOT_THIS_ONE = (400, 413, 422)
"""The server can't read this request, such as one that is too long for it; it may well read others."""
EMPTY = 2
"""Completions without a text that are paid for before the call counts as failed: the next would say no more."""
LARGEST = 1 << 24
"""Bytes of a response, unpacked; a completion of a judge has some thousands."""
GIVE_UP = 3
"""So many calls in a row that failed for good mean that the server is gone."""

log = logging.getLogger("rlhf")


class Endpoint:
    """One model behind a server. The key is kept in memory alone, and taken out of whatever the server says.

    Args:
        url: up to and without `/chat/completions`.
        key: sent as a bearer token; `None`: nothing is sent.
        max_tokens, temperature, extra: of the request; `None` in `extra` takes a field out.
        timeout: seconds without a byte after which a call counts as failed.
        retries: after the first attempt, each after twice the wait of the one before, from `backoff` seconds.
        concurrency: calls at the same time.
        section: where its keys stand, for messages.
        sleep: waits; by default until a call finds the server gone, at the longest.

    Attributes:
        refused: digests of requests that the server takes not: too long for it, or filtered.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cache: Cache,
        key: str | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        extra: Mapping[str, Any] | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        backoff: float = 1.0,
        concurrency: int = 8,
        prices: Prices | None = None,
        sleep: Callable[[float], object] | None = None,
        section: str = "evaluation.endpoint",
    ) -> None:
        self.url, self.model, self.cache = url.rstrip("/"), model, cache
        self.retries, self.backoff, self.concurrency = retries, backoff, concurrency
        self.max_tokens, self.prices = max_tokens, prices or Prices()
        fields = {"model": model, "temperature": temperature, "max_tokens": max_tokens, **(extra or {})}
        self.fields = {name: value for name, value in fields.items() if value is not None}
        self.section = section
        self._secret = Secret(key)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(headers=headers, timeout=timeout)
        self._in_a_row, self._answered = 0, False
        self._lock, self._gone = threading.Lock(), threading.Event()
        self.sleep = sleep or self._gone.wait
        self.used = Used()
        self.refused: set[str] = set()
        # It would name every call, thousands of them, in the run's log.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    def digest(self, messages: Messages) -> str:
        """sha256, hexadecimal, of everything that an answer depends on."""
        text = json.dumps([self.url, self.fields, messages], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def check(self) -> None:
        """Ask for the list of models: whether the server is there and takes the key, before anything else is done.

        Raises:
            EndpointError: it is not, or does not.
        """
        try:
            status = self._client.get(f"{self.url}/models").status_code
        except httpx.HTTPError as error:
            raise EndpointError(
                f"{self.section}.url: {self.url} can't be reached ({self.clean(error)}); start the server, or "
                "pass another address"
            ) from None
        if status in (401, 403):
            raise self._not_allowed(status)

    def estimate(self, asked: Iterable[Messages]) -> Estimate:
        """The cost of these requests, each counted once."""
        different = {self.digest(messages): messages for messages in asked}
        new = [messages for digest, messages in different.items() if self.cache.read(digest) is None]
        tokens = sum(map(tokens_of, new))
        out = len(new) * self.max_tokens
        return Estimate(len(new), len(different) - len(new), tokens, out, self.prices.cost(tokens, out))

    def ask(self, asked: Sequence[Messages], progress: Callable[[int, int], None] | None = None) -> list[str | None]:
        """The answer to each, in order; `None` for one that failed for good. What is known is not asked again.

        Raises:
            EndpointError: the server is gone, or refuses all.
        """
        digests = [self.digest(messages) for messages in asked]
        found: dict[str, str | None] = {}
        new: dict[str, Messages] = {}
        for digest, messages in zip(digests, asked, strict=True):
            if digest not in found and digest not in new:
                if (answer := self.cache.read(digest)) is None:
                    new[digest] = messages
                else:
                    found[digest] = answer
        self.used.add(cached=len(found))
        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = {pool.submit(self._one, digest, messages): digest for digest, messages in new.items()}
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    found[futures[future]] = future.result()
                    if progress is not None:
                        progress(done, len(futures))
            except BaseException:
                self._gone.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [found[digest] for digest in digests]

    def _one(self, digest: str, messages: Messages) -> str | None:
        try:
            return self._try(digest, messages)
        except EndpointError:
            self._gone.set()
            raise

    def _try(self, digest: str, messages: Messages) -> str | None:
        reason, empty = "", 0
        for attempt in range(self.retries + 1):
            if self._gone.is_set():
                return None
            wait = self.backoff * 2**attempt * random.uniform(0.75, 1.25)
            try:
                self.used.add(calls=1)
                status, body, asked_to_wait = self._post({**self.fields, "messages": messages})
            except httpx.HTTPError as error:
                reason = self.clean(error)
            else:
                said = body
                if status == 200:
                    completion = read_completion(body)
                    self.used.count(completion.usage)
                    if completion.text is not None:
                        return self._keep(digest, messages, completion)
                    reason = self.clean(completion.fault)
                    empty += completion.paid
                    # Some servers send their errors as successes; one with a number says what to do.
                    status, said = completion.status, completion.fault
                if status in TRY_AGAIN or status >= 500:
                    reason = f"status {status}"
                    wait = max(wait, asked_to_wait)
                elif status in NOT_THIS_ONE:
                    self.used.add(refused=1)
                    self.refused.add(digest)
                    self._failed(f"status {status}: {self.clean(said)[:200]}", these=True)
                    return None
                elif status in (401, 403):
                    raise self._not_allowed(status)
                elif status != 200:
                    raise EndpointError(
                        f"{self.section}.url: {self.url}/chat/completions says {status} for model {self.model}: "
                        f"{self.clean(said)[:200]}"
                    )
                if empty == EMPTY:
                    break
            if attempt < self.retries:
                self.used.add(retries=1)
                self.sleep(wait)
        self.used.add(failed=1)
        self._failed(reason)
        return None

    def _failed(self, reason: str, these: bool = False) -> None:
        """Args:
        these: the server refuses requests like this one, and may have answered others.
        """
        with self._lock:
            self._in_a_row += 1
            in_a_row, answered = self._in_a_row, self._answered
        if in_a_row >= GIVE_UP and not (these and answered):
            raise EndpointError(
                f"{self.section}.url: {self.url} failed {in_a_row} calls in a row, each {self.retries + 1} times "
                f"where trying again could help ({reason}); answers so far are kept, and the same command continues "
                "from there"
            )
        log.warning("%s: a call failed (%s); the same command asks it again", self.url, reason)

    def _post(self, request: Mapping[str, Any]) -> tuple[int, str, float]:
        """Status, body, and the seconds that the server asks to wait.

        Raises:
            httpx.HTTPError: no answer, or one that is too large to be one.
        """
        with self._client.stream("POST", f"{self.url}/chat/completions", json=request) as response:
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if len(body) > LARGEST:
                    raise httpx.HTTPError(f"its answer has more than {LARGEST:,} bytes")
            return response.status_code, body.decode("utf-8", "replace"), _seconds(response.headers.get("retry-after"))

    def _keep(self, digest: str, messages: Messages, completion: Completion) -> str:
        """The text of a completion, cached."""
        answer, request = self._secret.taken_out(completion.text or ""), {**self.fields, "messages": messages}
        self.cache.keep(
            digest,
            {
                "url": self.url,
                "request": request,
                "answer": answer,
                **({"cut": True} if completion.cut else {}),
                "usage": dict(completion.usage),
            },
        )
        with self._lock:
            self._in_a_row, self._answered = 0, True
        return answer

    def _not_allowed(self, status: int) -> EndpointError:
        sent = "the key of that variable is not accepted" if self._secret.key else "it wants a key, and none is sent"
        return EndpointError(
            f"{self.section}.key_env: {self.url} says {status}: {sent}; name the environment variable that holds "
            "the right one"
        )

    def clean(self, said: object) -> str:
        """A server's text on one line, without the key, which some servers repeat."""
        return one_line(self._secret.taken_out(str(said) or type(said).__name__))


def _seconds(header: str | None) -> float:
    """Of a `Retry-After`; at most two minutes, and dates are not read."""
    try:
        return min(120.0, max(0.0, float(header or 0)))
    except ValueError:
        return 0.0
