"""Images as agents and jobs, on a real engine beside the sandboxed programs of the same installation."""

import json
import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from homeport.engines import installation_name
from homeport.supervise.state import read_state
from homeport.testing.engines import EngineProcess, engine_obstacle, python_files, running_engine
from homeport.testing.system import System, eventually

REPOSITORY = "docker.io/library/homeport-e2e"
AGENT = """
import http.server, json, os, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/gateway":
            request = urllib.request.Request(os.environ["BL_RUN_URL"] + "/healthz")
            said = {"status": urllib.request.urlopen(request, timeout=10).status}
        else:
            said = {"version": os.environ["VERSION"], "mine": os.environ.get("MINE"), "home": os.environ.get("HOME"),
                    "uid": os.getuid(), "path": self.path, "region": os.environ["BL_REGION"]}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *words):
        print("request", self.path, flush=True)

print("image", os.environ["VERSION"], "listens", flush=True)
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
PROGRAM = """
import os, http.server as web
web.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), web.SimpleHTTPRequestHandler).serve_forever()
"""
TASK = """
import json, os, sys, time, urllib.request

with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]) as answer:
    tasks = json.load(answer)["tasks"]
task = tasks[int(os.environ[os.environ["BL_TASK_KEY"]])]
if "sleep" in task:
    print("sleeping", flush=True)
    time.sleep(task["sleep"])
print(json.dumps({"argv": sys.argv[1:], "task": task, "index": os.environ["TASK_INDEX"]}), flush=True)
sys.exit(task.get("code", 0))
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    if cause := engine_obstacle():
        pytest.skip(cause)
    folder = tmp_path_factory.mktemp("programs")
    (folder / "agent.py").write_text(AGENT)
    (folder / "task.py").write_text(TASK)
    files = [*python_files(), (folder / "agent.py", "/srv/agent.py"), (folder / "task.py", "/srv/task.py")]
    with running_engine() as running:
        command = 'ENTRYPOINT ["/bin/python3"]', 'CMD ["/srv/agent.py"]'
        running.make_image(f"{REPOSITORY}:1", files, config=(*command, "ENV VERSION=1", "USER 1000"))
        running.vary_image(f"{REPOSITORY}:2", f"{REPOSITORY}:1", config=("ENV VERSION=2",))
        running.make_image(f"{REPOSITORY}:ends", config=('CMD ["/bin/sh", "-c", "echo going; exit 7"]',))
        running.make_image(f"{REPOSITORY}:silent", config=('CMD ["/bin/sleep", "600"]',))
        yield running


@pytest.fixture(scope="module")
def harbour(engine: EngineProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An installation with a region for programs and one for images."""
    running = System(tmp_path_factory.mktemp("harbour") / "data")
    running.data.root.mkdir()
    running.data.config.write_text(f'[regions.docks]\ndriver = "docker"\nengine = "{engine.url}"\ncountry = "NL"\n')
    running.up()
    yield running
    running.down()
    assert engine.names("containers/json") == []


def put(system: System, kind: str, name: str, runtime: dict[str, object], **spec: object) -> dict[str, object]:
    body = {"metadata": {"name": name}, "spec": {"runtime": runtime, **spec}}
    answer = system.api.put(f"/{kind}/{name}", json=body)
    if answer.status_code == 404:
        answer = system.api.post(f"/{kind}", json=body)
    assert answer.status_code == 200, answer.text
    return system.settled(kind, name)


def test_an_image_answers_as_an_agent_beside_a_program_and_reaches_the_gateway(harbour: System) -> None:
    runtime = {"image": f"{REPOSITORY}:1", "memory": 256, "envs": [{"name": "MINE", "value": "yes"}]}
    made = put(harbour, "agents", "sailor", runtime)
    assert made["status"] == "DEPLOYED", made["events"]
    said = harbour.gateway.get("/agents/sailor/where").json()
    assert (said["version"], said["mine"], said["uid"], said["path"]) == ("1", "yes", 1000, "/where")
    assert said["region"] == "docks"
    assert harbour.gateway.get("/agents/sailor/gateway").json() == {"status": 200}
    texts = [line["text"] for line in harbour.logs("agents", "sailor")]
    assert texts[0] == "image 1 listens" and "request /where" in texts
    assert harbour.deploy("agents", "walker", {"main.py": PROGRAM})["status"] == "DEPLOYED"
    assert harbour.gateway.get("/agents/walker/").status_code == 200
    harbour.remove("agents", "walker")


def test_an_image_answers_as_a_function(harbour: System) -> None:
    made = put(harbour, "functions", "parrot", {"image": f"{REPOSITORY}:1", "memory": 256})
    assert made["status"] == "DEPLOYED", made["events"]
    assert harbour.gateway.get("/functions/parrot/mcp").json()["path"] == "/mcp"
    harbour.remove("functions", "parrot")


def test_an_update_serves_the_new_image_and_nothing_of_the_old_runs_on(harbour: System, engine: EngineProcess) -> None:
    for version in ("1", "2"):
        assert (
            put(harbour, "agents", "moved", {"image": f"{REPOSITORY}:{version}", "memory": 256})["status"] == "DEPLOYED"
        )
        assert harbour.gateway.get("/agents/moved").json()["version"] == version
    harbour.remove("agents", "moved")
    mine = f"homeport-{installation_name(harbour.data.root)}-rep-"

    def alone() -> bool:
        return len([name for name in engine.names("containers/json") if name.startswith(mine)]) <= 1  # the sailor's

    eventually(alone, "the containers have ended")


def test_a_job_runs_each_task_in_a_container_of_its_own(harbour: System) -> None:
    made = put(harbour, "jobs", "dockers", {"image": f"{REPOSITORY}:1", "args": ["/srv/task.py", "a b"], "memory": 256})
    assert made["status"] == "DEPLOYED", made["events"]
    execution = harbour.execute("dockers", [{"n": 1}, {"n": 2, "code": 3}])
    assert execution["status"] == "failed" and execution["stats"]["success"] == 1
    lines = harbour.logs("jobs", "dockers", execution=execution["metadata"]["id"])
    said = sorted((json.loads(line["text"]) for line in lines), key=lambda one: one["index"])
    assert [one["argv"] for one in said] == [["a b"], ["a b"]] and [one["task"]["n"] for one in said] == [1, 2]
    harbour.remove("jobs", "dockers")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (f"{REPOSITORY}:none", "cannot be pulled"),
        ("127.0.0.1:1/nobody/nothing:1", "cannot be pulled"),
        (f"{REPOSITORY}:ends", "exit code 7"),
    ],
)
def test_an_image_that_cannot_run_fails_with_the_reason(harbour: System, image: str, reason: str) -> None:
    made = put(harbour, "agents", "wreck", {"image": image, "memory": 128})
    assert made["status"] == "FAILED"
    assert any(reason in event["message"] for event in made["events"]), made["events"]  # type: ignore[index]
    harbour.remove("agents", "wreck")


@pytest.mark.parametrize(
    ("runtime", "spec", "said"),
    [
        ({"image": "UPPER"}, {}, "must be [registry/]name"),
        ({"image": "agent/other:latest"}, {}, "must be an image of this workspace"),
        ({"image": "x:1", "dockerConfig": "secret-nonsense"}, {}, "spec.runtime.dockerConfig: must be JSON"),
        ({"image": "x:1"}, {"region": "local"}, "docks"),
        ({"image": "x:1"}, {"repository": {"url": "https://example.org/x.git"}}, "must be absent where"),
    ],
)
def test_a_bad_order_is_refused_at_once(
    harbour: System, runtime: dict[str, object], spec: dict[str, object], said: str
) -> None:
    answer = harbour.api.post("/agents", json={"metadata": {"name": "bad"}, "spec": {"runtime": runtime, **spec}})
    assert answer.status_code == 400 and said in answer.json()["message"], answer.text
    assert "nonsense" not in answer.text and harbour.api.get("/agents/bad").status_code == 404


def test_without_an_engine_an_image_is_refused_with_what_to_do(system: System) -> None:
    body = {"metadata": {"name": "adrift"}, "spec": {"runtime": {"image": "x:1"}}}
    answer = system.api.post("/agents", json=body)
    assert answer.status_code == 400
    for part in ("spec.runtime.image", "container engine", "[regions.NAME]", "homeport deploy", "spec.repository.url"):
        assert part in answer.json()["message"]


def test_a_container_and_its_task_outlive_a_killed_server_and_are_known_to_the_next(harbour: System) -> None:
    put(harbour, "jobs", "outliving", {"image": f"{REPOSITORY}:1", "args": ["/srv/task.py"], "memory": 256})
    started = harbour.api.post("/jobs/outliving/executions", json={"tasks": [{"sleep": 4}]}).json()["executionId"]
    eventually(lambda: harbour.logs("jobs", "outliving", execution=started), "the task has its arguments")
    server = read_state(harbour.data).components["server"].pid
    os.kill(server, signal.SIGKILL)
    assert harbour.gateway.get("/agents/sailor").json()["version"] == "1"
    eventually(lambda: harbour.api.get("/agents/sailor").status_code == 200, "the server is back")
    ended = harbour.ended("outliving", started)
    assert ended["status"] == "succeeded" and ended["stats"]["retried"] == 0
    assert harbour.api.get("/agents/sailor").json()["status"] == "DEPLOYED"
    harbour.remove("jobs", "outliving")


def test_an_engine_that_is_away_is_told_and_holds_up_nothing_else(harbour: System, engine: EngineProcess) -> None:
    if not engine.own:
        pytest.skip("the engine is not the test's to kill")
    engine.kill()
    eventually(lambda: httpx.get(f"{harbour.url}/readyz").json()["status"] == "limited", "the engine is missed")
    body = {"metadata": {"name": "patient"}, "spec": {"runtime": {"image": f"{REPOSITORY}:1", "memory": 256}}}
    assert harbour.api.post("/agents", json=body).status_code == 200

    def told() -> bool:
        events = harbour.api.get("/agents/patient").json()["events"]
        return any("The build waits" in event["message"] and "does not answer" in event["message"] for event in events)

    eventually(told, "the event says what it waits for")
    assert harbour.deploy("agents", "walker", {"main.py": PROGRAM})["status"] == "DEPLOYED"
    assert harbour.gateway.get("/agents/walker/").status_code == 200 and harbour.logs("agents", "walker") is not None
    assert {one["region"]: one["status"] for one in harbour.api.get("/locations").json()}["docks"] != "healthy"
    assert "does not answer" in harbour.command("status").stdout
    engine.start()
    assert harbour.settled("agents", "patient")["status"] == "DEPLOYED"
    eventually(lambda: harbour.gateway.get("/agents/sailor").status_code == 200, "the agent is back")
    for name in ("walker", "patient"):
        harbour.remove("agents", name)


def test_a_stop_ends_every_container_and_gc_removes_one_that_nobody_owns(
    harbour: System, engine: EngineProcess
) -> None:
    harbour.down()
    assert engine.names("containers/json") == []
    labels = {"installation": installation_name(harbour.data.root), "region": "docks", "unit": "stray"}
    engine.run_container(f"{REPOSITORY}:silent", {f"homeport.{name}": value for name, value in labels.items()})
    told = harbour.command("gc", "--dry-run", "-o", "json")
    assert [(one["kind"], one["name"]) for one in json.loads(told.stdout)["findings"]] == [
        ("container", "homeport-stray")
    ]
    assert told.returncode == 1 and harbour.command("gc").returncode == 0
    assert engine.names("containers/json") == []
    harbour.up()
    eventually(lambda: harbour.gateway.get("/agents/sailor").status_code == 200, "the agent is back")
