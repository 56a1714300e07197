"""Triggers of a folder's manifest, from `homeport deploy` to requests, on the whole system."""

from pathlib import Path
from typing import Any

import httpx

from homeport.testing.system import System, eventually

PROGRAM = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        text = f"{os.getpid()} {self.path}"
        print(text, flush=True)
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
MANIFEST = """
type = "agent"
name = "hooked"

[[triggers]]
type = "http"
[triggers.configuration]
path = "/hooked/open"
authenticationType = "public"
timeout = "2m"

[[triggers]]
type = "http-async"
[[triggers.configuration]]
path = "agents/hooked/later"
"""


def test_the_triggers_of_a_manifest_are_served_and_changed_without_a_new_start(system: System, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(PROGRAM)
    (tmp_path / "blaxel.toml").write_text(MANIFEST)
    done = system.command("deploy", "-d", str(tmp_path))
    assert done.returncode == 0, done.stderr

    def post(path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return httpx.post(f"{system.url}{path}", json={}, headers=headers, timeout=30)

    mine = {"Authorization": f"Bearer {system.key}"}
    pid, path = post("/default/hooked/open/x").text.split()
    assert path == "/x"
    host = {"Host": f"agt-hooked-default.localhost:{system.port}"}
    assert post("/v0/agents", mine | host).text == f"{pid} /v0/agents"
    assert post("/default/agents/hooked/later", mine).json() == {"success": True}
    eventually(lambda: _printed(system, f"{pid} /"), "the asynchronous call has reached the program")

    shown = system.command("get", "agent", "hooked").stdout
    for place in (f"http://agt-hooked-default.localhost:{system.port} ", "/default/hooked/open ", "hooked/later "):
        assert place in shown, shown

    spec: dict[str, Any] = system.api.get("/agents/hooked").json()["spec"]
    assert [trigger["id"] for trigger in spec["triggers"]] == ["http-1", "http-async-1"]
    spec["triggers"][0]["configuration"]["path"] = "hooked/moved"
    body = {"metadata": {"name": "hooked"}, "spec": {**spec, "public": True}}
    assert system.api.put("/agents/hooked", json=body).status_code == 200
    eventually(lambda: post("/default/hooked/moved").status_code == 200, "the path has moved")
    assert post("/default/hooked/moved").text == f"{pid} /"  # the same process
    assert post("/default/hooked/open").status_code == 404
    assert post("/default/agents/hooked").text == f"{pid} /"
    assert len(system.api.get("/agents/hooked/revisions").json()) == 1
    system.remove("agents", "hooked")


def _printed(system: System, line: str) -> bool:
    return any(one["text"] == line for one in system.logs("agents", "hooked"))
