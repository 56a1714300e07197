"""Folders and repositories with a Dockerfile, on a real engine beside the sandboxed programs of the same installation.
No registry: the base is an image that the test made of the host's own files."""

import importlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeport.engines import installation_name
from homeport.supervise.state import read_state
from homeport.testing.engines import EngineProcess, engine_obstacle, python_files, running_engine
from homeport.testing.system import System, archive, eventually, free_port

BASE = "homeport-e2e-base:1"
SECRET = "sesame-open-4711"
AGENT = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = open("/srv/says").read() + os.environ.get("SAID", "")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

print("listens", flush=True)
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
DOCKERFILE = f"""# The first stage makes a file, the second takes it.
ARG BASE={BASE}
FROM $BASE AS makes
ARG WORD
ARG TOKEN
RUN echo "making with $TOKEN" && \\
    echo "says $WORD" > /made
FROM $BASE
WORKDIR /srv
COPY . .
COPY --from=makes /made /srv/says
USER 1000
CMD ["/bin/python3", "/srv/agent.py"]
"""
PROGRAM = """
import os, http.server as web
web.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), web.SimpleHTTPRequestHandler).serve_forever()
"""
TOML = """
[build.args]
WORD = "plain"
[env]
SAID = "from the manifest"
"""
FILES = {"Dockerfile": DOCKERFILE, "agent.py": AGENT, "blaxel.toml": TOML, ".env.build": f"TOKEN={SECRET}\n"}


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    if cause := engine_obstacle():
        pytest.skip(cause)
    with running_engine() as running:
        running.make_image(BASE, python_files())
        yield running


@pytest.fixture(scope="module")
def harbour(engine: EngineProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An installation with a region for programs and one with an engine."""
    running = System(tmp_path_factory.mktemp("harbour") / "data")
    running.data.root.mkdir()
    running.data.config.write_text(
        f'[regions.docks]\ndriver = "docker"\nengine = "{engine.url}"\ncountry = "NL"\n'
        "[sources]\nallow_file_repositories = true\n[builds]\nengine_cache_mb = 1\n[limits]\nbuild_timeout_s = 10\n"
    )
    running.up()
    accepted = running.accept("jobs", "endless")  # its time passes while the other tests go on
    content = archive({"Dockerfile": f"FROM {BASE}\nRUN echo endless; sleep 600\n"})
    assert httpx.put(accepted.headers["X-Blaxel-Upload-Url"], content=content, timeout=60).status_code == 200
    yield running
    running.down()
    assert engine.names("containers/json") == []


def build_log(system: System, kind: str, name: str) -> list[str]:
    return [line["text"] for line in system.logs(kind, name, source="build")]


def events(made: dict[str, Any]) -> str:
    return "\n".join(event["message"] for event in made["events"])


def test_a_folder_with_a_dockerfile_becomes_an_image_that_answers(harbour: System, engine: EngineProcess) -> None:
    made = harbour.deploy("agents", "built", FILES)
    assert made["status"] == "DEPLOYED", (events(made), build_log(harbour, "agents", "built"))
    assert harbour.gateway.get("/agents/built").text == "says plain\nfrom the manifest"
    assert "placed in region local on" in events(made) and "unless its source has a Dockerfile" in events(made)
    assert "building the image that its Dockerfile says, in region docks on" in events(made)
    log = build_log(harbour, "agents", "built")
    assert any(line.startswith("==> Step 1/11: ARG BASE=") for line in log), log
    assert any(line.startswith("==> Step 11/11: CMD") for line in log), log
    assert not any("LABEL" in line for line in log)
    assert "making with [hidden]" in log and SECRET not in "\n".join(log)


def test_an_update_without_an_upload_runs_the_same_image_and_a_new_upload_another(harbour: System) -> None:
    spec = {"runtime": {"envs": [{"name": "SAID", "value": "said anew"}]}}
    answer = harbour.api.put("/agents/built", json={"metadata": {"name": "built"}, "spec": spec})
    assert answer.status_code == 200, answer.text
    assert harbour.settled("agents", "built")["status"] == "DEPLOYED"
    eventually(lambda: harbour.gateway.get("/agents/built").text == "says plain\nsaid anew", "the update serves")
    changed = {**FILES, "blaxel.toml": TOML.replace("plain", "other")}
    assert harbour.deploy("agents", "built", changed)["status"] == "DEPLOYED"
    eventually(lambda: harbour.gateway.get("/agents/built").text == "says other\nfrom the manifest", "the new image")
    assert "(from the cache)" in build_log(harbour, "agents", "built")


def test_a_job_with_a_dockerfile_runs_its_tasks_in_containers(harbour: System) -> None:
    files = {"Dockerfile": f'FROM {BASE}\nCMD ["/bin/sh", "-c", "echo task $TASK_INDEX in $(id -u)"]\n'}
    made = harbour.deploy("jobs", "tasks", files)
    assert made["status"] == "DEPLOYED", events(made)
    assert harbour.execute("tasks", [{"n": 1}])["status"] == "succeeded"
    assert [line["text"] for line in harbour.logs("jobs", "tasks")] == ["task 0 in 0"]
    harbour.remove("jobs", "tasks")


def test_a_repository_with_a_dockerfile_is_built_with_the_engine(harbour: System) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # one that the user of sandboxes may read
        place = Path(folder)
        place.chmod(0o755)
        for name, text in FILES.items():
            (place / name).write_text(text)
        git = ("git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@example.org")
        for words in (("init", "-q"), ("add", "-Af"), ("commit", "-qm", "one")):
            subprocess.run([*git, *words], check=True)
        body = {"metadata": {"name": "fetched"}, "spec": {"repository": {"url": f"file://{folder}"}}}
        assert harbour.api.post("/agents", json=body).status_code == 200
        made = harbour.settled("agents", "fetched")
    assert made["status"] == "DEPLOYED", (events(made), build_log(harbour, "agents", "fetched"))
    assert harbour.gateway.get("/agents/fetched").text.startswith("says plain")
    harbour.remove("agents", "fetched")


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        (f"FROM {BASE}\nRUN echo before; echo wrong; exit 7\n", ("non-zero code: 7", "RUN echo before", "wrong")),
        (f"FROM {BASE}\n\nNONSENSE x\n", ("line 3", "unknown instruction")),
        (f"FROM {BASE}\nRUN --mount=type=cache,target=/x true\n", ("BuildKit", "classic builder")),
        (f"FROM {BASE}\nCOPY nowhere /x\n", ("nowhere", "COPY nowhere /x")),
        ("FROM homeport.internal/none:1\nRUN true\n", ("FROM homeport.internal/none:1",)),
        ("FROM scratch\nCOPY . /\n", ("says not what to run",)),
        ("RUN true\n", ("must hold an instruction FROM",)),
    ],
)
def test_a_build_that_fails_says_the_step_and_the_last_lines(
    harbour: System, dockerfile: str, said: tuple[str, ...]
) -> None:
    made = harbour.deploy("agents", "wreck", {"Dockerfile": dockerfile})
    assert made["status"] == "FAILED"
    for part in said:
        assert part in events(made)
    harbour.remove("agents", "wreck")


def test_a_policy_decides_among_the_regions_with_an_engine(harbour: System) -> None:
    rule = {"type": "location", "resourceTypes": ["agent"], "locations": [{"type": "country", "name": "JP"}]}
    assert harbour.api.post("/policies", json={"metadata": {"name": "japan"}, "spec": rule}).status_code == 200
    assert harbour.accept("agents", "far", {"policies": ["japan"]}).status_code == 403
    pinned = harbour.accept("agents", "here", {"region": "local"})
    sent = httpx.put(pinned.headers["X-Blaxel-Upload-Url"], content=archive(FILES), timeout=60)
    assert sent.status_code == 400 and "docks" in sent.json()["message"], sent.text
    bare = harbour.accept("agents", "here", {"region": "docks"})
    sent = httpx.put(bare.headers["X-Blaxel-Upload-Url"], content=archive({"main.py": ""}), timeout=60)
    assert sent.status_code == 400 and "local" in sent.json()["message"], sent.text
    harbour.remove("agents", "here")


def test_without_an_engine_a_dockerfile_is_refused_with_what_to_do(system: System) -> None:
    accepted = system.accept("agents", "adrift")
    files = {"Dockerfile": DOCKERFILE, "main.py": AGENT}
    sent = httpx.put(accepted.headers["X-Blaxel-Upload-Url"], content=archive(files), timeout=60)
    assert sent.status_code == 400
    for part in ("Dockerfile", "container engine", "[regions.NAME]", ".blaxelignore"):
        assert part in sent.json()["message"], sent.text
    assert system.deploy("agents", "adrift", {"main.py": PROGRAM})["status"] == "DEPLOYED"
    system.remove("agents", "adrift")


def test_a_deletion_ends_the_build_and_leaves_no_container(harbour: System, engine: EngineProcess) -> None:
    accepted = harbour.accept("agents", "slow")
    content = archive({"Dockerfile": f"FROM {BASE}\nRUN echo slow; sleep 600\n"})
    assert httpx.put(accepted.headers["X-Blaxel-Upload-Url"], content=content, timeout=60).status_code == 200
    eventually(lambda: "slow" in build_log(harbour, "agents", "slow"), "the step runs")
    assert len(steps(engine, harbour, "slow")) == 1
    harbour.remove("agents", "slow")
    eventually(lambda: steps(engine, harbour, "slow") == [], "the step's container is gone")


def test_a_newer_revision_ends_the_build_of_the_older_one(harbour: System, engine: EngineProcess) -> None:
    accepted = harbour.accept("jobs", "hasty")
    content = archive({"Dockerfile": f"FROM {BASE}\nRUN echo hasty; sleep 600\n"})
    assert httpx.put(accepted.headers["X-Blaxel-Upload-Url"], content=content, timeout=60).status_code == 200
    eventually(lambda: "hasty" in build_log(harbour, "jobs", "hasty"), "the step runs")
    made = harbour.deploy("jobs", "hasty", {"Dockerfile": f'FROM {BASE}\nCMD ["/bin/true"]\n'})
    assert made["status"] == "DEPLOYED" and "a newer revision is built in its place" in events(made)
    eventually(lambda: steps(engine, harbour, "hasty") == [], "the step's container is gone")
    harbour.remove("jobs", "hasty")


def test_a_build_beyond_its_time_is_stopped_and_says_so(harbour: System, engine: EngineProcess) -> None:
    made = harbour.settled("jobs", "endless")
    assert made["status"] == "FAILED"
    for part in ("took longer than 10 s", "RUN echo endless", "  endless"):
        assert part in events(made)
    eventually(lambda: steps(engine, harbour, "endless") == [], "the step's container is gone")
    harbour.remove("jobs", "endless")


def test_a_build_begins_again_when_the_server_is_killed_in_the_middle(harbour: System, engine: EngineProcess) -> None:
    accepted = harbour.accept("jobs", "patient")
    text = f'FROM {BASE}\nRUN echo first\nRUN echo begun; sleep 2\nCMD ["/bin/true"]\n'
    content = archive({"Dockerfile": text})
    assert httpx.put(accepted.headers["X-Blaxel-Upload-Url"], content=content, timeout=60).status_code == 200
    eventually(lambda: "begun" in build_log(harbour, "jobs", "patient"), "the step runs")
    os.kill(read_state(harbour.data).components["server"].pid, signal.SIGKILL)
    eventually(lambda: harbour.api.get("/jobs/patient").status_code == 200, "the server is back")
    made = harbour.settled("jobs", "patient")
    assert made["status"] == "DEPLOYED", events(made)
    log = build_log(harbour, "jobs", "patient")
    assert "(from the cache)" in log and log.count("begun") == 1
    assert steps(engine, harbour, "begun") == []
    harbour.remove("jobs", "patient")


def test_the_cache_is_bounded_and_what_is_not_ours_stays(harbour: System, engine: EngineProcess) -> None:
    """Each build leaves a layer of 0.7 MB besides its image; one of them fits."""
    engine.build(f"FROM {BASE}\nRUN head -c 2000000 /dev/zero > /theirs\n")
    theirs = {one["Id"] for one in engine.ask("/images/json", all="1")} - mine(engine, harbour)
    for word in ("a", "b", "c"):
        stage = f"FROM {BASE} AS left\nRUN echo {word} > /x; head -c 700000 /dev/zero > /left\n"
        last = f'FROM {BASE}\nCOPY --from=left /x /x\nCMD ["/bin/true"]\n'
        assert harbour.deploy("jobs", "leaves", {"Dockerfile": stage + last})["status"] == "DEPLOYED"

    def bounded() -> bool:
        large = [one for one in layers(engine, harbour) if "head -c" in one]
        return len(large) == 1 and "echo c" in large[0]

    eventually(bounded, "the cache fits")
    assert theirs == {one["Id"] for one in engine.ask("/images/json", all="1")} - mine(engine, harbour)
    harbour.remove("jobs", "leaves")


def test_the_scene_of_the_demo_answers_and_leaves_nothing_on_the_engine(
    engine: EngineProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    demo = importlib.import_module("demo")
    before = {one["Id"] for one in engine.ask("/images/json", all="1")}
    scene = demo.Demo(tmp_path)
    scene.run("up", "--detach", "--port", str(free_port()))
    try:
        scene.play_container()
    finally:
        scene.stop()
    assert "Ahoy from dockerfile-agent!" in capfd.readouterr().out
    assert {one["Id"] for one in engine.ask("/images/json", all="1")} == before
    assert [one for one in engine.ask("/containers/json", all="1") if "demo" in one["Image"]] == []


def steps(engine: EngineProcess, system: System, word: str) -> list[str]:
    """Containers that run a step of a build of ours, in whose command is that word."""
    label = f"homeport.builder={installation_name(system.data.root)}"
    found = engine.ask("/containers/json", all="1", filters=json.dumps({"label": [label]}))
    return [one["Id"] for one in found if "homeport.unit" not in one["Labels"] and word in one["Command"]]


def mine(engine: EngineProcess, system: System) -> set[str]:
    """Images and layers of builds of ours."""
    label = f"homeport.builder={installation_name(system.data.root)}"
    return {one["Id"] for one in engine.ask("/images/json", all="1", filters=json.dumps({"label": [label]}))}


def layers(engine: EngineProcess, system: System) -> list[str]:
    """What made each unnamed layer of ours."""
    label = f"homeport.builder={installation_name(system.data.root)}"
    found = engine.ask("/images/json", all="1", filters=json.dumps({"label": [label]}))
    unnamed = [one["Id"] for one in found if (one["RepoTags"] or ["<none>"])[0].startswith("<none>")]
    return [engine.ask(f"/images/{ident}/history")[0]["CreatedBy"] for ident in unnamed]
