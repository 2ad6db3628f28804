"""A chat endpoint on this machine that fails as it is told to, and remembers what it was asked."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "sk-very-secret-4711"

Reply = Callable[[str], str]


class ChatServer:
    """Serves `/v1` on a free port until `close`.

    Attributes:
        faults: what the next calls get in place of an answer: a status, a body, or `malformed`, `nothing`, `slow`.
        reply: what is said to the last message of a request.
        requests: bodies, in the order in which they came; headers likewise.
    """

    def __init__(self) -> None:
        self.faults: list[int | str | bytes | dict[str, Any]] = []
        self.reply: Reply = judge
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.wants: str | None = None
        self.always: int | None = None
        self.released, self.lock = threading.Event(), threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.send(401 if outer.refuses(self.headers) else 200, {"data": []})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.requests.append(body)
                    outer.headers.append(dict(self.headers))
                    fault = outer.faults.pop(0) if outer.faults else outer.always
                if outer.refuses(self.headers):
                    fault = 401
                if fault == "slow":
                    outer.released.wait(30)
                    return self.close()
                if fault == "malformed":
                    return self.send(200, b'{"choices": [')
                if isinstance(fault, bytes | dict):
                    return self.send(200, fault)
                if fault == "nothing":
                    return self.send(200, {"choices": [{"message": {"content": None}}]})
                if isinstance(fault, int):
                    said = f"no: {self.headers.get('Authorization')}"  # some servers repeat it
                    return self.send(fault, {"error": said}, {"Retry-After": "7"} if fault == 429 else {})
                text = outer.reply(body["messages"][-1]["content"])
                usage = {"prompt_tokens": 11, "completion_tokens": 5}
                self.send(200, {"choices": [{"message": {"content": text}}], "usage": usage})
                return None

            def close(self) -> None:
                self.close_connection = True

            def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def refuses(self, headers: Any) -> bool:
        """Whether the key is not the one that is wanted."""
        return self.wants is not None and headers.get("Authorization") != f"Bearer {self.wants}"

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


def fenced(content: str) -> list[str]:
    """What stands between the fences of a request: prompt and answer, or prompt and both answers."""
    return [text.strip() for text in re.findall(r"<(?:text-\w+)>\n(.*?)\n</text-\w+>", content, re.DOTALL)]


def judge(content: str) -> str:
    """Likes short answers, and thinks aloud before it says so."""
    texts = fenced(content)
    if "Answer A:" in content:
        a, b = (len(text) for text in texts[-2:])
        better = "A" if a < b else "B" if b < a else "tie"
        return f'Hm {{"better": 1}}.\n```json\n{{"reason": "short", "better": "{better}"}}\n```'
    return json.dumps({"reason": "so", "helpfulness": max(0, 10 - len(texts[-1])), "harmlessness": 10, "honesty": 7.5})
