"""Volumes as programs see them: real sandboxes, the real gateway, real files."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from homeport.testing.sdk import with_sdk
from homeport.testing.system import System, eventually

# Does what it is asked to do with files, and says what came of it.
PROGRAM = """
import http.server, json, os

VERSION = "1"

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        try:
            answer = getattr(self, asked["do"])(asked)
        except OSError as error:
            answer = {"error": error.strerror}
        body = json.dumps({"version": VERSION, "pid": os.getpid(), **answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def write(self, asked):
        with open(asked["path"], "a") as file:
            file.write(asked["text"])
        return self.read(asked)

    def fill(self, asked):
        with open(asked["path"], "wb") as file:
            for _ in range(asked["mb"]):
                file.write(bytes(1024 * 1024))
        return {}

    def read(self, asked):
        with open(asked["path"]) as file:
            return {"text": file.read()}

    def link(self, asked):
        os.symlink(asked["to"], asked["path"])
        return {}

    def list(self, asked):
        return {"names": sorted(os.listdir(asked["path"]))}

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
# Writes so many MB to its volume, and says what it found there.
JOB = """
import json, os, time, urllib.request

with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]) as answer:
    task = json.load(answer)["tasks"][int(os.environ[os.environ["BL_TASK_KEY"]])]
print(json.dumps({"found": os.listdir("/scratch")}), flush=True)
with open("/scratch/file", "wb") as file:
    for _ in range(task["mb"]):
        file.write(bytes(1024 * 1024))
        time.sleep(task.get("pause", 0))
time.sleep(task.get("sleep", 0))
"""


def files(version: str = "1") -> dict[str, str]:
    return {"main.py": PROGRAM.replace('VERSION = "1"', f'VERSION = "{version}"')}


def spec(*volumes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"region": "local", "volumes": [*volumes], **more}


def at(name: str, path: str = "/data", **more: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **more}


def make(system: System, name: str, size: int = 64, **metadata: Any) -> None:
    body = {"metadata": {"name": name, **metadata}, "spec": {"size": size, "region": "local"}}
    answer = system.api.post("/volumes", json=body)
    assert answer.status_code == 200, answer.text


def ask(system: System, agent: str, do: str, **asked: Any) -> dict[str, Any]:
    answer = system.gateway.post(f"/agents/{agent}", json={"do": do, **asked})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def drop(system: System, *volumes: str) -> None:
    """Delete the volumes, and wait until nothing is left of them."""
    for name in volumes:
        eventually(lambda n=name: system.api.delete(f"/volumes/{n}").status_code == 200, f"{name} is free")  # type: ignore[misc]
        eventually(lambda n=name: system.api.get(f"/volumes/{n}").status_code == 404, f"{name} is gone")  # type: ignore[misc]


@pytest.fixture
def cleared(system: System) -> Iterator[None]:
    """Nothing of a test is left for the next one."""
    yield
    for agent in system.api.get("/agents", params={"q": "vol-"}).json()["data"]:
        system.remove("agents", agent["metadata"]["name"])
    drop(system, *(one["metadata"]["name"] for one in system.api.get("/volumes").json()["data"]))
    assert sorted(path.name for path in system.data.volumes.iterdir()) == ["trash"]


@pytest.mark.usefixtures("cleared")
def test_data_survive_the_deletion_of_their_agent(system: System) -> None:
    make(system, "kept")
    assert system.deploy("agents", "vol-one", files(), spec(at("kept")))["status"] == "DEPLOYED"
    assert ask(system, "vol-one", "write", path="/data/note", text="a")["text"] == "a"
    assert system.api.delete("/volumes/kept").status_code == 409
    system.remove("agents", "vol-one")
    assert system.api.get("/volumes/kept").json()["state"] == {}
    assert system.deploy("agents", "vol-two", files(), spec(at("kept", "/mnt/elsewhere")))["status"] == "DEPLOYED"
    assert ask(system, "vol-two", "write", path="/mnt/elsewhere/note", text="b")["text"] == "ab"
    assert system.api.get("/volumes/kept").json()["state"] == {"attachedTo": "agent:vol-two"}


@pytest.mark.usefixtures("cleared")
def test_what_is_mounted_to_be_read_cannot_be_written(system: System) -> None:
    make(system, "read")
    assert system.deploy("agents", "vol-writer", files(), spec(at("read")))["status"] == "DEPLOYED"
    ask(system, "vol-writer", "write", path="/data/note", text="a")
    system.remove("agents", "vol-writer")
    read_only = spec(at("read", readOnly=True), runtime={"minScale": 2})
    assert system.deploy("agents", "vol-reader", files(), read_only)["status"] == "DEPLOYED"
    assert ask(system, "vol-reader", "write", path="/data/note", text="b")["error"] == "Read-only file system"
    assert ask(system, "vol-reader", "read", path="/data/note")["text"] == "a"


@pytest.mark.usefixtures("cleared")
def test_links_in_a_volume_lead_nowhere_outside_of_it(system: System) -> None:
    """Neither for the program, nor for Homeport when it counts and removes what is there."""
    outside = system.data.root / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(bytes(3 * 1024 * 1024))
    make(system, "links", size=2)
    assert system.deploy("agents", "vol-links", files(), spec(at("links")))["status"] == "DEPLOYED"
    assert ask(system, "vol-links", "link", path="/data/out", to=str(outside))["version"] == "1"
    assert ask(system, "vol-links", "link", path="/data/etc", to="/etc/shadow")["version"] == "1"
    assert "error" in ask(system, "vol-links", "list", path="/data/out")
    assert "error" in ask(system, "vol-links", "read", path="/data/etc")
    system.remove("agents", "vol-links")
    drop(system, "links")
    assert (outside / "precious").stat().st_size == 3 * 1024 * 1024
    (outside / "precious").unlink()
    outside.rmdir()


@pytest.mark.usefixtures("cleared")
def test_a_volume_that_is_full_ends_its_program_which_may_then_read_and_remove(system: System) -> None:
    make(system, "full", size=8)
    assert system.deploy("agents", "vol-full", files(), spec(at("full")))["status"] == "DEPLOYED"
    first = ask(system, "vol-full", "fill", path="/data/small", mb=4)["pid"]
    ask(system, "vol-full", "fill", path="/data/large", mb=8)

    def told() -> str | None:
        events = system.api.get("/agents/vol-full").json()["events"]
        return next((one["message"] for one in events if "in the volume full" in one["message"]), None)

    assert "disk: more than 8 MB in the volume full" in eventually(told, "its end is told", 30)
    answer = eventually(
        lambda: system.gateway.post("/agents/vol-full", json={"do": "list", "path": "/data"}), "it is back"
    )
    assert answer.status_code == 200 and answer.json()["names"] == ["large", "small"] and first


def test_an_ephemeral_volume_begins_empty_and_its_size_ends_a_task(system: System) -> None:
    volume = at("scratch", "/scratch", type="ephemeral", sizeMb=16)
    job = {"runtime": {"memory": 128, "maxRetries": 0}, "volumes": [volume]}
    assert system.deploy("jobs", "vol-job", {"main.py": JOB}, job)["status"] == "DEPLOYED"
    execution = system.execute("vol-job", [{"mb": 4}, {"mb": 4}, {"mb": 80, "pause": 0.02, "sleep": 60}])
    assert [task["status"] for task in execution["tasks"]] == ["succeeded", "succeeded", "failed"], execution["tasks"]
    message = execution["tasks"][2]["conditions"][0]["message"]
    assert "16 MB in the volume scratch" in message or "more than" in message, message
    lines = system.logs("jobs", "vol-job", execution=execution["metadata"]["id"])
    assert [json.loads(line["text"])["found"] for line in lines if "found" in line["text"]] == [[], [], []]
    system.remove("jobs", "vol-job")
    assert not [*(system.data.node / "units").glob("*/volumes")]


@pytest.mark.usefixtures("cleared")
def test_the_public_sdk_makes_reads_grows_lists_and_deletes_volumes(system: System) -> None:
    printed = with_sdk(
        system,
        """
        import asyncio
        from blaxel.core.volume import VolumeInstance
        from blaxel.core.volume.volume import SyncVolumeInstance, VolumeAPIError

        async def main():
            wanted = {"name": "sdk-data", "size": 10, "region": "local", "labels": {"a": "b"}}
            made = await VolumeInstance.create(wanted)
            print(made.name, made.size, made.region, made.status)
            same = await VolumeInstance.create_if_not_exists({"name": "sdk-data", "size": 99, "region": "local"})
            print(same.size, (await VolumeInstance.get("sdk-data")).size)
            try:
                await VolumeInstance.create({"name": "sdk-data", "region": "local"})
            except VolumeAPIError as error:
                print(error.status_code, error.code)
            print((await made.update({"size": 20})).size)
            try:
                await made.update({"size": 5})
            except Exception as error:  # the contract declares no error for this operation
                print(error.status_code)
            page = await VolumeInstance.list(limit=1)
            print([one.name async for one in page.auto_paging_iter()])
            print((await made.delete()).metadata.name)
        asyncio.run(main())
        try:
            while True:
                SyncVolumeInstance.get("sdk-data")
        except VolumeAPIError as error:
            print(error.status_code)
        print(SyncVolumeInstance.create_if_not_exists({"name": "sdk-data", "region": "local"}).size)
        """,
    )
    assert printed.splitlines() == [
        "sdk-data 10 local DEPLOYED",
        "10 10",
        "409 VOLUME_ALREADY_EXISTS",
        "20",
        "400",
        "['sdk-data']",
        "sdk-data",
        "404",
        "1024",
    ]
