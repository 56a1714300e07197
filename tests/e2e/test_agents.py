"""Agents from the folder to the last byte: real sandboxes, the real Envoy, the public contract."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from homeport.load.plan import Plan
from homeport.load.thread import running_load
from homeport.testing.system import System, eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello-agent"

# A program without dependencies: answers with its environment, writes, crashes and calls out on request.
PROGRAM = """
import http.server, json, os, urllib.error, urllib.request

VERSION = "1"

def token():
    request = urllib.request.Request(
        os.environ["BL_API_URL"] + "/oauth/token", json.dumps({"grant_type": "client_credentials"}).encode(),
        {"Authorization": "Basic " + os.environ["BL_CLIENT_CREDENTIALS"], "Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["access_token"]

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        answer = getattr(self, asked.get("do", "hello"))(asked)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hello(self, asked):
        return {"version": VERSION, "path": self.path, "headers": dict(self.headers.items())}

    def environment(self, asked):
        return dict(os.environ)

    def crash(self, asked):
        os._exit(7)

    def write(self, asked):
        with open("/app/note", "a") as note:
            note.write("x")
        return {"length": os.path.getsize("/app/note")}

    def call(self, asked):
        request = urllib.request.Request(
            asked["url"], json.dumps(asked.get("body", {})).encode() if asked["method"] != "GET" else None,
            {"Authorization": "Bearer " + token(), "Content-Type": "application/json"}, method=asked["method"])
        try:
            with urllib.request.urlopen(request) as response:
                return {"status": response.status, "body": response.read().decode()}
        except urllib.error.HTTPError as error:
            return {"status": error.code, "body": error.read().decode()}

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 128
server = http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler)
print("version", VERSION, "listens", flush=True)
server.serve_forever()
"""


def files(version: str = "1") -> dict[str, str]:
    return {"main.py": PROGRAM.replace('VERSION = "1"', f'VERSION = "{version}"')}


def ask(system: System, name: str, **asked: Any) -> dict[str, Any]:
    answer = system.gateway.post(f"/agents/{name}", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def state_of(system: System, agent: str) -> str:
    replicas = system.api.get("/homeport/status").json()["replicas"]
    return next((str(known["state"]) for known in replicas if known["name"] == agent), "")


@pytest.fixture(scope="module")
def example(system: System) -> str:
    done = system.command("deploy", "-d", str(EXAMPLE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Installing dependencies" in done.stdout + done.stderr
    return "hello-agent"


@pytest.fixture(scope="module")
def plain(system: System) -> str:
    assert system.deploy("agents", "plain", files())["status"] == "DEPLOYED"
    return "plain"


def test_a_folder_becomes_an_agent_that_answers_at_its_url(system: System, example: str) -> None:
    agent = system.api.get(f"/agents/{example}").json()
    assert agent["status"] == "DEPLOYED"
    assert agent["metadata"]["url"] == f"{system.url}/default/agents/{example}"
    answer = system.gateway.post(agent["metadata"]["url"], json={"inputs": "hi"})
    assert (answer.status_code, answer.json()["inputs"]) == (200, "hi")
    assert "x-blaxel-source" not in answer.headers
    reasons = [event["reason"] for event in agent["events"]]
    assert reasons[:2] == ["Accepted", "ArchiveReceived"]
    assert reasons[-1] == "Serving"


def test_a_stream_arrives_piece_by_piece(system: System, example: str) -> None:
    with system.gateway.stream("GET", f"/agents/{example}/stream?text=a+b+c+d+e") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        pieces = [piece for piece in answer.iter_raw() if piece]
    assert len(pieces) >= 5


def test_a_websocket_talks_both_ways(system: System, example: str) -> None:
    url = f"ws://127.0.0.1:{system.port}/default/agents/{example}/ws"
    with connect(url, additional_headers={"Authorization": f"Bearer {system.key}"}) as socket:
        for word in ("one", "two"):
            socket.send(word)
            assert socket.recv(timeout=10) == f"Hello: {word}"


def test_the_build_log_is_kept(system: System, example: str) -> None:
    lines = [line["text"] for line in system.logs("agents", example, source="build")]
    assert any("Installing dependencies" in line for line in lines)


def test_without_a_key_nothing_answers(system: System, plain: str) -> None:
    answer = httpx.post(f"{system.url}/default/agents/{plain}", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "AUTHENTICATION_REQUIRED")
    assert answer.headers["x-blaxel-source"] == "platform"


def test_a_program_sees_the_rest_of_the_path_and_no_credential(system: System, plain: str) -> None:
    answer = system.gateway.post(f"/agents/{plain}/deep/er?x=1", json={}).json()
    assert answer["path"] == "/deep/er?x=1"
    assert not {name.lower() for name in answer["headers"]} & {"authorization", "x-blaxel-authorization"}


def test_a_public_agent_answers_without_a_key(system: System) -> None:
    system.deploy("agents", "open", files(), {"public": True})
    assert httpx.post(f"{system.url}/default/agents/open", json={}).status_code == 200
    system.remove("agents", "open")


def test_a_program_gets_the_contracts_variables_and_its_own(system: System) -> None:
    envs = [
        {"name": "MINE", "value": "1"},
        {"name": "PORT", "value": "1"},
        {"name": "SECRET", "value": "s", "secret": True},
    ]
    system.deploy("agents", "variables", files(), {"runtime": {"envs": envs, "memory": 256}})
    seen = ask(system, "variables", do="environment")
    assert (seen["MINE"], seen["SECRET"], seen["BL_NAME"], seen["BL_TYPE"]) == ("1", "s", "variables", "agent")
    assert seen["PORT"] != "1" and seen["BL_WORKSPACE"] == "default"
    assert not {name for name in seen if name.startswith("HOMEPORT_DATA")}
    shown = system.api.get("/agents/variables").json()["spec"]["runtime"]["envs"]
    assert "s" not in [env["value"] for env in shown]
    revealed = system.api.get("/agents/variables", params={"show_secrets": "true"}).json()["spec"]["runtime"]["envs"]
    assert revealed == envs
    # Clients update by sending back what they read: the mask must not become the value.
    system.api.put("/agents/variables", json=system.api.get("/agents/variables").json())
    system.settled("agents", "variables")
    eventually(lambda: ask(system, "variables", do="environment")["SECRET"] == "s", "the secret is kept")
    system.remove("agents", "variables")


def load_on(system: System, name: str) -> Plan:
    headers = {"Authorization": f"Bearer {system.key}"}
    return Plan(url=f"{system.url}/default/agents/{name}", method="POST", headers=headers, body=b"{}", concurrency=4)


def test_an_update_drops_no_request(system: System) -> None:
    system.deploy("agents", "green", files("1"))
    with running_load(load_on(system, "green")) as load:
        agent = system.deploy("agents", "green", files("2"))
        eventually(lambda: ask(system, "green")["version"] == "2", "the new revision answers")
    assert agent["status"] == "DEPLOYED"
    assert load.report.sound and load.report.ok > 20, load.report
    revisions = system.api.get("/agents/green/revisions").json()
    assert [(known["active"], known["previousActive"]) for known in revisions] == [(True, False), (False, True)]
    system.remove("agents", "green")


def test_an_update_that_cannot_start_leaves_the_old_revision_serving(system: System, plain: str) -> None:
    failed = system.deploy("agents", plain, {"main.py": "raise SystemExit('no database')"})
    assert failed["status"] == "FAILED"
    assert "ended 3 times" in failed["events"][-1]["message"]
    assert ask(system, plain)["version"] == "1"
    assert system.deploy("agents", plain, files())["status"] == "DEPLOYED"


def test_a_build_that_fails_says_the_step_and_the_last_words(system: System) -> None:
    failed = system.deploy("agents", "broken", {"main.py": "x", "requirements.txt": "no-such-package-anywhere==1"})
    assert failed["status"] == "FAILED"
    event = failed["events"][-1]
    assert event["reason"] == "BuildFailed"
    assert "Installing dependencies" in event["message"]
    system.remove("agents", "broken")


def test_a_crashed_program_comes_back_and_its_callers_wait_for_it(system: System) -> None:
    system.deploy("agents", "frail", files())
    assert system.gateway.post("/agents/frail", json={"do": "crash"}).status_code == 502
    eventually(lambda: state_of(system, "frail") != "ready", "its end is noticed")
    assert ask(system, "frail")["version"] == "1"
    messages = [event["message"] for event in system.api.get("/agents/frail").json()["events"]]
    assert any("exit code 7" in message for message in messages)
    system.remove("agents", "frail")


def test_a_program_writes_to_its_own_copy_of_its_bundle(system: System, plain: str) -> None:
    assert ask(system, plain, do="write")["length"] >= 1
    bundles = system.data.bundles
    assert not list(bundles.glob("*/app/note"))


def test_a_programs_identity_may_call_workloads_and_change_nothing(system: System, plain: str) -> None:
    call = {"do": "call"}
    neighbour = ask(system, plain, **call, method="POST", url=f"{system.url}/default/agents/{plain}")
    assert neighbour["status"] == 200
    forbidden = (
        ("POST", "/v0/policies", {"metadata": {"name": "p"}, "spec": {"type": "location", "locations": []}}),
        ("PUT", f"/v0/agents/{plain}", {"metadata": {"name": plain}, "spec": {}}),
        ("DELETE", f"/v0/agents/{plain}", {}),
        ("GET", "/v0/agents", {}),
        ("GET", f"/v0/agents/{plain}?show_secrets=true", {}),
        ("GET", "/v0/homeport/status", {}),
        ("GET", f"/v0/homeport/logs/agents/{plain}", {}),
    )
    for method, path, body in forbidden:
        answer = ask(system, plain, **call, method=method, url=system.url + path, body=body)
        assert answer["status"] == 403, (method, path, answer)


def token_of(system: System, credentials: str) -> str:
    grant = {"grant_type": "client_credentials"}
    answer = httpx.post(f"{system.url}/v0/oauth/token", json=grant, headers={"Authorization": f"Basic {credentials}"})
    return str(answer.json()["access_token"])


def test_deletion_leaves_nothing(system: System, plain: str) -> None:
    system.deploy("agents", "brief", files())
    credentials = ask(system, "brief", do="environment")["BL_CLIENT_CREDENTIALS"]
    token = token_of(system, credentials)
    neighbour = f"{system.url}/default/agents/{plain}"
    assert httpx.post(neighbour, json={}, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    replica = [known for known in system.api.get("/homeport/status").json()["replicas"] if known["name"] == "brief"]
    assert len(replica) == 1
    system.remove("agents", "brief")
    answer = system.gateway.post("/agents/brief", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "WORKLOAD_NOT_FOUND")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{replica[0]['port']}/")
    grant = {"grant_type": "client_credentials"}
    refused = httpx.post(f"{system.url}/v0/oauth/token", json=grant, headers={"Authorization": f"Basic {credentials}"})
    assert refused.status_code == 400
    old = {"Authorization": f"Bearer {token}"}
    eventually(lambda: httpx.post(neighbour, json={}, headers=old).status_code == 403, "its token is refused")
    units = system.data.node / "units"
    eventually(lambda: not [unit for unit in units.iterdir() if "brief" in _labels(unit)], "its units are forgotten")


def _labels(unit: Path) -> str:
    return "".join(path.read_text() for path in unit.glob("*.json"))


def test_secrets_of_credentials_are_bound_to_their_workload(system: System, plain: str) -> None:
    credentials = ask(system, plain, do="environment")["BL_CLIENT_CREDENTIALS"]
    client_id, _, secret = base64.b64decode(credentials).decode().partition(":")
    for wrong in (f"{client_id}:{secret}x", f"wl-other:{secret}", f"{client_id}:"):
        basic = base64.b64encode(wrong.encode()).decode()
        grant = {"grant_type": "client_credentials"}
        answer = httpx.post(f"{system.url}/oauth/token", json=grant, headers={"Authorization": f"Basic {basic}"})
        assert answer.status_code == 400, wrong
        assert "client_secret" in json.dumps(answer.json())
