"""Requests of a synthetic source: what they will cost at most, and their replies, none of them paid for twice."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rlhf.data.preparation.synthetic.steps import Asked, Bound, Messages, Reply
from rlhf.evaluation.judges.calls import Estimate, tokens_of
from rlhf.evaluation.judges.endpoint import Endpoint
from rlhf.progress import ProgressBar


class Asking:
    """The replies of an endpoint to the requests of a method, and what is known of them beforehand.

    Args:
        endpoint: whose cache has the replies that came.
        journal: file of the requests that failed for good. They stay so when the run continues: another reply now would
            lead to other requests than those that are paid for.
    """

    def __init__(self, endpoint: Endpoint, journal: Path) -> None:
        self.endpoint, self.journal = endpoint, journal
        self.failed = _read(journal)
        self.known: Counter[str] = Counter()

    def replay(self, asked: Asked) -> list[Reply] | None:
        """The replies as far as they are known, without a call; `None` where one is missing."""
        found = [self._known(messages) for messages in asked.messages]
        self.known[asked.stage] += sum(reply is not None for reply in found)
        return None if None in found else [reply for reply in found if reply is not None]

    def ask(self, asked: Asked) -> list[Reply]:
        """The replies, asked for where they are not known.

        Raises:
            EndpointError: the server is gone, or refuses all.
        """
        digests = [self.endpoint.digest(messages) for messages in asked.messages]
        new = {d: messages for d, messages in zip(digests, asked.messages, strict=True) if d not in self.failed}
        with ProgressBar(f"synthetic: {asked.stage}", len(new)) as progress:
            texts = dict(zip(new, self.endpoint.ask([*new.values()], progress), strict=True))
        failed = {digest: digest in self.endpoint.refused for digest, text in texts.items() if text is None}
        if failed:
            self.failed |= failed
            _append(self.journal, failed)
        return [self._reply(digest, texts.get(digest)) for digest in digests]

    def estimate(self, bounds: Sequence[Bound]) -> Estimate:
        """The most that is still to be asked. A text of an earlier reply, where a request will hold one, counts with
        all tokens that a reply may have; of each stage the longest requests count as those that are left."""
        sizes: dict[str, list[int]] = {}
        for bound in bounds:
            quoted = bound.replies * self.endpoint.max_tokens
            sizes.setdefault(bound.stage, []).extend(tokens_of(messages) + quoted for messages in bound.requests)
        left = [sorted(found, reverse=True)[: max(0, len(found) - self.known[s])] for s, found in sizes.items()]
        calls, tokens = sum(map(len, left)), sum(map(sum, left))
        out = calls * self.endpoint.max_tokens
        return Estimate(calls, self.known.total(), tokens, out, self.endpoint.prices.cost(tokens, out))

    def _known(self, messages: Messages) -> Reply | None:
        digest = self.endpoint.digest(messages)
        text = None if digest in self.failed else self.endpoint.cache.read(digest)
        return None if text is None and digest not in self.failed else self._reply(digest, text)

    def _reply(self, digest: str, text: str | None) -> Reply:
        cut = text is not None and self.endpoint.cache.was_cut(digest)
        return Reply(text, cut, self.failed.get(digest, False))


def _read(journal: Path) -> dict[str, bool]:
    """Digests of failed requests, and whether the server refused them."""
    found: dict[str, bool] = {}
    for line in journal.read_text(encoding="utf-8").split("\n") if journal.exists() else []:
        try:
            entry = json.loads(line)
            found[str(entry["digest"])] = bool(entry["refused"])
        except (ValueError, KeyError, TypeError):  # the run was killed within this line
            continue
    return found


def _append(journal: Path, failed: dict[str, bool]) -> None:
    with journal.open("a", encoding="utf-8") as stream:
        for digest, refused in failed.items():
            stream.write(json.dumps({"digest": digest, "refused": refused}) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
