"""`homeport dev`: a folder is served as it changes, through the gateway, and nothing of it is left."""

import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import httpx

from homeport.core.ids import Kind
from homeport.core.packing import DEV_MARK
from homeport.store.sqlite import read_beside
from homeport.testing.system import BOUND_S, System, eventually

PROGRAM = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ANSWER " + os.environ["GREETING"].encode())

    def log_message(self, *args):
        pass

print("it begins", flush=True)
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


class Terminal:
    """What a session prints, as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process, self.text = process, ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def waits_for(self, pattern: str, times: int = 1) -> str:
        """The last match, once there are so many."""

        def look() -> list[str] | None:
            found = re.findall(pattern, self.text)
            assert len(found) >= times or self.process.poll() is None, self.text
            return found if len(found) >= times else None

        return eventually(look, f"{pattern} is printed {times} times")[-1]

    def interrupted(self) -> str:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(BOUND_S) == 0, self.text
        self._reader.join(BOUND_S)
        return self.text

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line


def _folder(path: Path, answer: str = "one") -> Path:
    path.mkdir()
    (path / "main.py").write_text(PROGRAM.replace("ANSWER", answer))
    (path / ".env").write_text("GREETING=hello\n")
    return path


def test_a_folder_is_served_as_it_changes_and_nothing_is_left_though_no_homeport_ran(tmp_path: Path) -> None:
    folder, system = _folder(tmp_path / "web"), System(tmp_path / "data")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".gitignore").write_text("notes.txt\n")
    with system.begun("dev", str(folder)) as process:
        terminal = Terminal(process)
        url = terminal.waits_for(r"homeport \| ready in .* s: (\S+/default/agents/web-dev)")
        key = system.data.admin_key.read_text().strip()

        def answer() -> str:
            return httpx.post(url, headers={"Authorization": f"Bearer {key}"}, timeout=60).text

        assert answer() == "one hello"
        terminal.waits_for(r"\d\d:\d\d:\d\d web-dev \| it begins")

        (folder / "main.py").write_text(PROGRAM.replace("ANSWER", "two"))
        took_s = float(terminal.waits_for(r"homeport \| reloaded in (.*) s: "))
        assert answer() == "two hello" and took_s < BOUND_S

        (folder / "main.py").write_text("def broken(:\n")
        terminal.waits_for(r"web-dev \| SyntaxError")
        terminal.waits_for(r"homeport \| failed after .* the version before serves on: .*exit code 1")
        assert answer() == "two hello"

        (folder / "blaxel.toml").write_text("name = 3\n")
        terminal.waits_for(r"homeport \| not deployed: blaxel.toml: name: must be a string")
        (folder / "blaxel.toml").unlink()
        (folder / ".env").write_text("GREETING=goodbye\n")
        (folder / "main.py").write_text(PROGRAM.replace("ANSWER", "three"))
        terminal.waits_for(r"homeport \| reloaded in ", times=2)
        assert answer() == "three goodbye"

        (folder / "notes.txt").write_text("git ignores it")
        time.sleep(1)  # nothing is to happen, which no state tells
        assert len(re.findall("reloaded", terminal.text)) == 2
        terminal.interrupted()
    assert "Nothing of Homeport runs" in system.command("down").stdout, "what it started, it stopped"
    left = read_beside(
        system.data.database, lambda tx: [*tx.resources.uids(Kind.AGENT), *tx.resources.uids(Kind.IMAGE)]
    )
    assert left == [] and [*system.data.builds.iterdir()] == []
    system.owns_everything()


def test_what_somebody_deployed_is_never_replaced_and_a_job_is_run_by_hand(system: System, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "sums")
    taken = system.accept("agents", "sums-dev")
    assert taken.status_code == 200
    try:
        refused = system.command("dev", str(folder))
        assert refused.returncode == 1 and "did not make it" in refused.stderr and "--name" in refused.stderr
        labels = {"homeport-dev": "1.1.another-machine"}
        body = {"metadata": {"name": "sums-dev", "labels": labels}, "spec": {}}
        assert system.api.put("/agents/sums-dev", params={"upload": "true"}, json=body).status_code == 200
        refused = system.command("dev", str(folder))
        assert refused.returncode == 1 and "another machine: another-machine" in refused.stderr, "it may live there"
        assert system.api.get("/agents/sums-dev").json()["metadata"]["labels"] == labels
    finally:
        system.remove("agents", "sums-dev")

    (folder / "main.py").write_text("print('a task')\n")
    with system.begun("dev", str(folder), "--type", "job") as process:
        terminal = Terminal(process)
        terminal.waits_for(r"ready in .* s: try `homeport run job sums-dev")
        again = system.command("dev", str(folder), "--type", "job")
        assert again.returncode == 1 and "serves sums-dev already" in again.stderr
        assert system.execute("sums-dev", [{}])["status"] == "succeeded"
        terminal.waits_for(r"sums-dev \| a task")
        terminal.interrupted()
    assert system.api.get("/jobs/sums-dev").status_code == 404


def test_packages_are_installed_again_only_where_what_names_them_has_changed(system: System) -> None:
    files = {DEV_MARK: "", "main.py": f"import idna\n{PROGRAM.replace('ANSWER', 'idna')}"}
    spec = {"runtime": {"envs": [{"name": "GREETING", "value": "hello"}]}}

    def built(version: str, more: str) -> str:
        changed = {**files, "requirements.txt": f"idna=={version}\n", "main.py": files["main.py"] + more}
        assert system.deploy("agents", "packed-dev", changed, spec)["status"] == "DEPLOYED"
        revision = system.api.get("/agents/packed-dev/revisions").json()[0]["id"]
        return "\n".join(
            line["text"] for line in system.logs("agents", "packed-dev", source="build", revision=revision)
        )

    try:
        assert "Installing dependencies from requirements.txt" in built("3.10", "# one\n")
        assert "Taking the packages of an earlier build" in built("3.10", "# two\n")
        assert system.gateway.post("/agents/packed-dev", json={}).text == "idna hello"
        assert "Installing dependencies from requirements.txt" in built("3.9", "# three\n")
    finally:
        system.remove("agents", "packed-dev")
