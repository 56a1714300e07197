"""A whole Homeport for end-to-end tests: `homeport up` in a directory of its own, spoken to as a user does."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from homeport.settings import DataDir
from homeport.supervise.state import read_state

T = TypeVar("T")
BOUND_S = 120.0  # for anything that ends well; slow machines run these tests too
COMPONENTS = ("server", "edge", "node", "envoy")
LEAK_WAIT_S = 10.0  # what is under way, such as the restart of a killed component, is done by then
_COMMAND = (sys.executable, "-c", "from homeport.cli.main import run; run()")


class System:
    """One installation. `api` speaks to the control plane as the administrator, `gateway` to workloads."""

    def __init__(self, root: Path, more: Mapping[str, str] | None = None) -> None:
        """`more`: environment variables that its processes get besides ours."""
        self.data = DataDir(root)
        self._more = more or {}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = ""
        self.api = httpx.Client()
        self.gateway = httpx.Client()

    def up(self) -> None:
        """Start it and wait until it is ready."""
        done = self.command("up", "--port", str(self.port), "--detach")
        assert done.returncode == 0, done.stdout + done.stderr
        self.connect()

    def connect(self) -> None:
        """Speak to it with the administrator's key, however it was started."""
        self.key = self.data.admin_key.read_text().strip()
        headers = {"Authorization": f"Bearer {self.key}"}
        self.close()
        self.api = httpx.Client(
            base_url=f"{self.url}/v0", headers={**headers, "Blaxel-Version": "2026-04-28"}, timeout=30
        )
        self.gateway = httpx.Client(base_url=f"{self.url}/default", headers=headers, timeout=60)

    def down(self, *, drain_s: float = 0) -> None:
        """Stop it, by default without waiting for what is under way. Nothing may be left that nobody owns, neither
        before nor after."""
        self.close()
        try:
            self.owns_everything()
        finally:  # a test that fails leaves nothing running either
            done = self.command("down", "--drain", str(drain_s))
        assert done.returncode == 0, done.stdout + done.stderr
        self.owns_everything()

    def owns_everything(self) -> None:
        """What `homeport gc --dry-run` says; some hundredths of a second when it finds nothing."""
        from homeport.leaks.look import leaks  # it reads the store, of which most tests know nothing

        assert leaks(self.data, LEAK_WAIT_S) == [], "left behind, though nobody owns it"

    def lives(self) -> bool:
        """Whether `homeport up` and each component is the process that is written down."""
        state = read_state(self.data)
        held = [state.supervisor, *(state.components.get(name) for name in COMPONENTS)]
        return all(one is not None and one.lives() for one in held)

    def close(self) -> None:
        """Its connections; `up` makes them anew."""
        self.api.close()
        self.gateway.close()

    def command(
        self, *words: str, cwd: Path | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `homeport WORDS` against this installation."""
        return subprocess.run(
            [*_COMMAND, *words],
            env=self._environment(),
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )

    @contextlib.contextmanager
    def begun(self, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """`homeport WORDS` while the block runs, with pipes for what it prints. It is killed if it has not ended."""
        command = [*_COMMAND, *words]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=self._environment(), stdout=pipe, stderr=pipe, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def _environment(self) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("BL_", "HOMEPORT_"))}
        return {**env, **self._more, "HOMEPORT_DATA": str(self.data.root)}

    def deploy(
        self, kind: str, name: str, files: Mapping[str, str], spec: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Create or update a workload from `files` as the public clients do, and wait for its end."""
        accepted = self.accept(kind, name, spec)
        assert accepted.status_code == 200, accepted.text
        sent = httpx.put(accepted.headers["X-Blaxel-Upload-Url"], content=archive(files), timeout=60)
        assert sent.status_code == 200, sent.text
        return self.settled(kind, name)

    def accept(self, kind: str, name: str, spec: dict[str, Any] | None = None) -> httpx.Response:
        """The answer to a deployment that asks for an upload address: PUT, and POST where there is none yet."""
        body = {"metadata": {"name": name}, "spec": spec or {}}
        answer = self.api.put(f"/{kind}/{name}", params={"upload": "true"}, json=body)
        if answer.status_code == 404:
            answer = self.api.post(f"/{kind}", params={"upload": "true"}, json=body)
        return answer

    def settled(self, kind: str, name: str) -> dict[str, Any]:
        """The workload once its deployment has ended, one way or the other."""
        ended = ("DEPLOYED", "FAILED", "DEACTIVATED")

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.api.get(f"/{kind}/{name}").json()
            return found if found.get("status") in ended else None

        return eventually(look, f"{kind}/{name} is deployed or has failed")

    def remove(self, kind: str, name: str) -> None:
        """Delete a workload and wait until it is gone."""
        answer = self.api.delete(f"/{kind}/{name}")
        assert answer.status_code == 200, answer.text
        eventually(lambda: self.api.get(f"/{kind}/{name}").status_code == 404, f"{kind}/{name} is gone")

    def execute(self, job: str, tasks: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Run an execution to its end and return it with its tasks."""
        started = self.api.post(f"/jobs/{job}/executions", json={"tasks": tasks, **more})
        assert started.status_code == 200, started.text
        return self.ended(job, started.json()["executionId"])

    def ended(self, job: str, execution: str) -> dict[str, Any]:
        terminal = ("succeeded", "failed", "cancelled", "timeout")

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.api.get(f"/jobs/{job}/executions/{execution}").json()
            return found if found["status"] in terminal else None

        return eventually(look, f"execution {execution} has ended")

    def logs(self, kind: str, name: str, **query: Any) -> list[dict[str, Any]]:
        """The lines that a workload has printed so far."""
        answer = self.api.get(f"/homeport/logs/{kind}/{name}", params=query)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]


def archive(files: Mapping[str, str]) -> bytes:
    """A zip archive of text files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for path, text in files.items():
            packed.writestr(path, text)
    return buffer.getvalue()


def eventually(look: Callable[[], T | None], what: str, bound_s: float = BOUND_S) -> T:
    """What `look` answers once it answers something true. Fails saying `what` did not come about."""
    deadline = time.monotonic() + bound_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {bound_s} s: {what}"
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
