"""A small HTTP server with scripted answers, so that client and command line are tested over a real connection."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class ScriptedApi:
    """`answers` maps "METHOD PATH?QUERY" to one answer, or to several that are given one after the other."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.requests: list[Request] = []
        self.url = ""

    def answer(self, **parts: Any) -> Answer:
        """An answer to script: `status`, `body` (JSON, or bytes as they are), `headers`."""
        return Answer(**parts)

    def find(self, line: str) -> Answer:
        found = self.answers.get(line)
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found or Answer(status=404, body={"error": "none", "code": 404, "message": f"no answer for {line}"})


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    """A running scripted server."""
    with scripted_api() as api:
        yield api


@contextmanager
def scripted_api() -> Iterator[ScriptedApi]:
    api = ScriptedApi()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {key.lower(): value for key, value in self.headers.items()}
            api.requests.append(Request(self.command, self.path, headers, self.rfile.read(length)))
            answer = api.find(f"{self.command} {self.path}")
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for key, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = _any

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
