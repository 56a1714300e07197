"""Secrets travel by every route there is, in a real system; then nothing that Homeport wrote or answered holds one."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.core.ids import new_id
from homeport.supervise.state import read_state
from homeport.testing.system import System, eventually

ROUTES = (
    "env", "other-env", "docker", "configuration", "job-env", "override", "failing", "broken-build", "stored",
    "refused", "manifest", "replaced", "env-file", "applied",
)  # fmt: skip
VALUES = {route: f"hush-{route}-{new_id('x', 20)}" for route in ROUTES}
SEEN = f"seen-{new_id('x', 20)}"  # a variable that is no secret: what finds it would find the others

# Programs say by a digest what they were given, so that nothing but the platform could write a value down.
AGENT = """
import hashlib, http.server, json, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        digests = {name: hashlib.sha256(value.encode()).hexdigest() for name, value in os.environ.items()}
        body = json.dumps(digests).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
JOB = """
import hashlib, json, os, sys, urllib.request

with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]) as answer:
    task = json.load(answer)["tasks"][0]
wrong = [name for name, digest in task["digests"].items()
         if hashlib.sha256(os.environ.get(name, "").encode()).hexdigest() != digest]
print("wrong:", wrong, flush=True)
sys.exit(task.get("code", 1 if wrong else 0))
"""


def digest(route: str) -> str:
    return hashlib.sha256(VALUES[route].encode()).hexdigest()


def secret(name: str, route: str) -> dict[str, Any]:
    return {"name": name, "value": VALUES[route], "secret": True}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose files nobody else writes."""
    running = System(tmp_path_factory.mktemp("secrets") / "data")
    running.up()
    yield running
    running.down()


def given(own: System, agent: str = "keeper") -> dict[str, str]:
    answer: dict[str, str] = own.gateway.get(f"/agents/{agent}").json()
    return answer


def holding(text: bytes) -> list[str]:
    """The routes whose values stand in `text`."""
    return [route for route, value in VALUES.items() if value.encode() in text]


def written(own: System) -> dict[str, list[str]]:
    """Every file of the data directory that holds a value, with the routes."""
    found = {}
    for path in own.data.root.rglob("*"):
        if path.is_file() and (routes := holding(path.read_bytes())):
            found[str(path.relative_to(own.data.root))] = routes
    return found


def told(own: System) -> dict[str, str]:
    """All that the API and the command line tell about what there is, without asking for secrets."""
    told: dict[str, str] = {}
    for kind, name in (
        ("agents", "keeper"),
        ("agents", "typed"),
        ("agents", "failing"),
        ("agents", "unbuilt"),
        ("jobs", "keeper"),
    ):
        for path in (f"/{kind}/{name}", f"/{kind}", f"/{kind}/{name}/revisions", f"/homeport/explain/{kind}/{name}"):
            told[path] = own.api.get(path).text
        search = {"resourceType": kind, "workloadIds": name}
        told[f"search {kind} {name}"] = own.api.get("/observability/logs", params=search).text
        for source in ("build", "run"):
            told[f"logs {kind} {name} {source}"] = own.api.get(
                f"/homeport/logs/{kind}/{name}", params={"source": source}
            ).text
        one = kind.removesuffix("s")
        for words in (
            ("get", one, name, "-o", "json"),
            ("get", one, name),
            ("logs", one, name),
            ("explain", one, name),
        ):
            told[" ".join(words)] = said(own, *words)
    executions = own.api.get("/jobs/keeper/executions").json()["data"]
    for ident in (one["metadata"]["id"] for one in executions):
        told[f"execution {ident}"] = own.api.get(f"/jobs/keeper/executions/{ident}").text
        told[f"tasks of {ident}"] = own.api.get(f"/jobs/keeper/executions/{ident}/tasks").text
        told[f"executions get {ident}"] = said(own, "executions", "get", "keeper", ident)
    for path in ("/homeport/status", "/homeport/secrets", "/homeport/secrets/git", "/jobs/keeper/executions"):
        told[path] = own.api.get(path).text
    told["secrets list"] = said(own, "secrets", "list")
    told["status"] = said(own, "status")
    return told


def said(own: System, *words: str) -> str:
    done = own.command(*words)
    return done.stdout + done.stderr


def seen_by_others(own: System) -> dict[str, bytes]:
    """The command lines of all processes, and the environments of Homeport's own."""
    found: dict[str, bytes] = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # a process that ended meanwhile
            found[str(path)] = path.read_bytes()
    for name, process in read_state(own.data).components.items():
        found[f"environment of {name}"] = Path(f"/proc/{process.pid}/environ").read_bytes()
    return found


@pytest.fixture(scope="module")
def used(own: System, tmp_path_factory: pytest.TempPathFactory) -> System:
    """The system after secrets have gone through it by every route."""
    plain = {"name": "PLAIN", "value": SEEN}
    login = json.dumps({"auths": {"registry.example": {"username": "me", "password": VALUES["docker"]}}})
    runtime = {"envs": [secret("ENV", "env"), secret("OTHER", "other-env"), plain], "dockerConfig": login}
    assert own.deploy("agents", "keeper", {"main.py": AGENT}, {"runtime": runtime})["status"] == "DEPLOYED"
    configurations = {"CONFIGURED": {"secret": True, "value": VALUES["configuration"]}}
    job = {"configurations": configurations, "runtime": {"envs": [secret("ENV", "job-env")], "maxRetries": 1}}
    assert own.deploy("jobs", "keeper", {"main.py": JOB}, job)["status"] == "DEPLOYED"
    failing = {"runtime": {"envs": [secret("ENV", "failing")]}}
    broken = {"main.py": "raise SystemExit('cannot start')"}
    assert own.deploy("agents", "failing", broken, failing)["status"] == "FAILED"
    unbuilt = {"runtime": {"envs": [secret("ENV", "broken-build")]}}
    sources = {"main.py": AGENT, "requirements.txt": "no-such-package-of-this-name==99\n"}
    assert own.deploy("agents", "unbuilt", sources, unbuilt)["status"] == "FAILED"
    files = tmp_path_factory.mktemp("files")
    (files / "stored").write_text(VALUES["stored"])
    assert own.command("secrets", "set", "git", "--from-file", str(files / "stored")).returncode == 0
    use_the_command_line(own, files)
    return own


def use_the_command_line(own: System, files: Path) -> None:
    """A folder with its `.env`, and a manifest whose secret comes from elsewhere."""
    folder = files / "typed"
    folder.mkdir()
    (folder / "main.py").write_text(AGENT)
    (folder / ".env").write_text(f"ENV={VALUES['env-file']}\n")
    deploy = ("deploy", "-d", str(folder), "--env-file", str(folder / ".env"))
    (files / "values").write_text(f"APPLIED={VALUES['applied']}\n")
    manifest = files / "manifest.yaml"
    manifest.write_text(
        "kind: Agent\nmetadata: {name: typed}\n"
        "spec: {runtime: {envs: [{name: APPLIED, value: $APPLIED, secret: true}, {name: ENV, value: '********'}]}}\n"
    )
    apply = ("apply", "-f", str(manifest), "--env-file", str(files / "values"))
    for words in ((*deploy, "--dryrun"), (*deploy, "-o", "json"), (*apply, "-o", "json")):
        done = own.command(*words)
        assert done.returncode == 0 and not holding((done.stdout + done.stderr).encode()), done.stdout + done.stderr
    expected = {"ENV": digest("env-file"), "APPLIED": digest("applied")}
    eventually(lambda: expected.items() <= given(own, "typed").items(), "the applied revision serves")


def test_programs_are_given_their_secrets(used: System) -> None:
    found = given(used)
    assert (found["ENV"], found["OTHER"]) == (digest("env"), digest("other-env"))
    digests = {"CONFIGURED": digest("configuration"), "ENV": digest("job-env"), "OVER": digest("override")}
    body = {"env": {"OVER": VALUES["override"]}, "id": "again"}
    done = used.execute("keeper", [{"digests": digests}], **body)
    assert done["status"] == "succeeded" and done["spec"]["envOverride"] == {"OVER": "***"}
    repeated = used.api.post("/jobs/keeper/executions", json={"tasks": [{"digests": digests}], **body})
    assert repeated.json()["executionId"] == done["metadata"]["id"]
    failed = used.execute("keeper", [{"digests": {}, "code": 3}], env={"OVER": VALUES["override"]})
    assert failed["status"] == "failed"


def test_a_mask_that_is_sent_back_keeps_the_secret_and_a_new_value_replaces_it(used: System) -> None:
    read = used.api.get("/agents/keeper").json()
    for env in read["spec"]["runtime"]["envs"]:
        if env["name"] == "OTHER":
            env["value"] = VALUES["replaced"]
    accepted = used.api.put("/agents/keeper", json=read)
    assert accepted.status_code == 200 and not holding(accepted.content)
    eventually(lambda: given(used)["OTHER"] == digest("replaced"), "the new revision serves")
    assert given(used)["ENV"] == digest("env")


def test_refusals_repeat_no_secret(used: System, tmp_path: Path) -> None:
    value = VALUES["refused"]
    for kind in ("agents", "jobs"):
        for runtime in (
            {"envs": [{"name": f"A={value}", "value": value}]},
            {"envs": [{"name": "A", "value": value, "secret": value}]},
            {"envs": value},
            {"envs": [{"name": "A", "value": [value]}]},
            [{"envs": value}],
        ):
            answer = used.api.post(f"/{kind}", json={"metadata": {"name": "bad"}, "spec": {"runtime": runtime}})
            assert answer.status_code == 400 and not holding(answer.content), answer.text
    for body in ({"env": {"A": [value]}}, {"env": {f"A={value}": value}}, {"env": value}):
        answer = used.api.post("/jobs/keeper/executions", json=body)
        assert answer.status_code == 400 and not holding(answer.content), answer.text
    for content in (f'{{"value": {value}', json.dumps(value), json.dumps({"value": [value]})):
        answer = used.api.put("/homeport/secrets/bad", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400 and not holding(answer.content), answer.text
    manifest = tmp_path / "bad.yaml"
    start = "kind: Agent\nmetadata: {name: bad}\nspec: {runtime: {envs: [{name: A, value: "
    for text in (f"{start}*{VALUES['manifest']}", f"{start}5, x: {VALUES['manifest']}}}]}}}}"):
        manifest.write_text(text)
        done = used.command("apply", "-f", str(manifest))
        assert done.returncode != 0 and not holding((done.stdout + done.stderr).encode()), done.stderr
    done = used.command("secrets", "set", "git", value)
    assert done.returncode == 2 and not holding((done.stdout + done.stderr).encode())


def test_secrets_are_shown_to_an_admin_who_asks(used: System) -> None:
    shown = used.api.get("/agents/keeper", params={"show_secrets": "true"}).json()["spec"]["runtime"]
    assert {env["name"]: env["value"] for env in shown["envs"]}["ENV"] == VALUES["env"]


def test_nothing_that_homeport_tells_or_wrote_holds_a_secret(used: System) -> None:
    answers = told(used)
    assert {what: holding(text.encode()) for what, text in answers.items() if holding(text.encode())} == {}
    assert any("********" in text for text in answers.values())
    assert {what: holding(text) for what, text in seen_by_others(used).items() if holding(text)} == {}
    assert written(used) == {}
    database = b"".join(path.read_bytes() for path in used.data.root.glob("homeport.db*"))
    assert SEEN.encode() in database  # so the others would have been found


def test_a_crash_of_a_component_leaves_no_image_of_its_memory(used: System) -> None:
    for name, process in read_state(used.data).components.items():
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["1", "1"], name


def test_after_a_restart_programs_have_their_secrets_and_the_files_still_hold_none(used: System) -> None:
    used.down()
    assert written(used) == {}
    used.up()
    eventually(lambda: used.gateway.get("/agents/keeper").status_code == 200, "the agent serves again")
    assert given(used)["ENV"] == digest("env")
    assert written(used) == {}


def test_without_its_key_the_start_is_refused_and_says_what_to_do(used: System) -> None:
    used.down()
    key = used.data.sealing_key
    kept = key.rename(key.with_suffix(".kept"))
    try:
        done = used.command("up", "--port", str(used.port), "--detach")
        assert done.returncode != 0
        assert "sealing key" in done.stderr and "backup" in done.stderr, done.stderr
        assert not key.exists()
    finally:
        kept.rename(key)
    used.up()
    eventually(lambda: used.gateway.get("/agents/keeper").status_code == 200, "the agent serves again")
