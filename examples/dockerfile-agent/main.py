"""A small agent in an image of its own: it answers in JSON. The Dockerfile says how it is built and started.

A container has a network of its own, so the program listens on $HOST, which is every address there, at $PORT.
"""

import json
import os
import platform
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Greets, and says where it runs."""

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(json.loads(body) if body else {})

    def _answer(self, question: dict[str, Any]) -> None:
        said = {
            "answer": f"{os.environ['GREETING']} from {os.environ.get('BL_NAME', 'a container')}!",
            "inputs": question.get("inputs"),
            "host": {"hostname": platform.node(), "python": platform.python_version(), "uid": os.getuid()},
        }
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    address = (os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8000")))
    ThreadingHTTPServer(address, Handler).serve_forever()
