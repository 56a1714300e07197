"""A program that listens on another port than $PORT is told which, by a real program."""

from typing import Any

import pytest

from homeport.testing.system import System, archive, eventually, free_port

pytestmark = pytest.mark.sandbox

PROGRAM = """
import os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
import threading

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()

for host in ("127.0.0.1", "0.0.0.0"):
    try:
        server = HTTPServer((host, PORT), Handler)
        break
    except OSError:
        continue
server.serve_forever()
"""


def test_a_program_on_the_wrong_port_is_told_which_and_serves_once_it_is_mended(system: System) -> None:
    port = free_port()
    accepted = system.accept("agents", "elsewhere")
    files = {"main.py": PROGRAM.replace("PORT", str(port))}
    assert system.api.put(accepted.headers["X-Blaxel-Upload-Url"], content=archive(files)).status_code == 200

    def told() -> dict[str, Any] | None:
        events = system.api.get("/agents/elsewhere").json()["events"]
        return next((event for event in events if event["reason"] == "WrongPort"), None)

    event = eventually(told, "the wrong port is told")
    assert f"it listens on {port}, not on $PORT (2" in event["message"]
    mended = {"main.py": PROGRAM.replace("PORT", 'int(os.environ["PORT"])')}
    assert system.deploy("agents", "elsewhere", mended)["status"] == "DEPLOYED"
    assert system.gateway.post("/agents/elsewhere").status_code == 200
    system.remove("agents", "elsewhere")
