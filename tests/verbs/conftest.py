"""What tests of several verbs ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chat_server import SECRET, ChatServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """A chat endpoint that wants a key, which `JUDGE_KEY` holds; reached past any proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    found = ChatServer()
    found.wants = SECRET
    yield found
    found.close()
