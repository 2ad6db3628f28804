"""A server on loopback, in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], AbstractContextManager[str]]:
    """`with serving(served) as url:`; the address goes up to and without `/v1`."""
    pytest.importorskip("starlette", reason="the server needs Starlette: pip install -e '.[web]'")
    uvicorn = pytest.importorskip("uvicorn", reason="the server needs Uvicorn: pip install -e '.[web]'")
    from verbs.serve.app import build_app
    from verbs.web.listening import Server, address_of, listen

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    @contextmanager
    def serve(served: Any) -> Iterator[str]:
        at = listen("127.0.0.1", 0)
        config = uvicorn.Config(build_app(served), log_level="warning", lifespan="off", ws="none")
        server = Server(config, served.batches.end)
        worker = threading.Thread(target=server.run, args=([at],), daemon=True)
        worker.start()
        try:
            yield address_of(at)
        finally:
            server.should_exit = True
            worker.join(30)
            at.close()
        assert not worker.is_alive()

    return serve
