"""The unmodified public TypeScript SDK against a running Homeport, pointed there by `homeport env` and nothing else.

`typescript/` holds what is run; npm installs the locked SDK into a temporary directory.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from homeport.testing.sdk import sdk_environment
from homeport.testing.system import System, archive, eventually

HERE = Path(__file__).parent / "typescript"
DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"
BOUND_S = 120

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not installed; they run this SDK"
)

AGENT = {
    "main.py": textwrap.dedent(
        """
        async def app(scope, receive, send):
            if scope["type"] != "http":
                return
            body = (await receive()).get("body", b"")
            mine = dict(scope["headers"]).get(b"x-mine", b"")
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"|".join([body, scope["query_string"], mine])})
        """
    )
}
# Without an SDK of its own. It tells what it was told, and waits where a task asks for it.
JOB = {
    "main.py": textwrap.dedent(
        """
        import json, os, time, urllib.request
        with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]) as answer:
            task = json.load(answer)["tasks"][0]
        if task.get("name") == "wait":
            told = {key: value for key, value in os.environ.items() if key.startswith(("BL_", "TASK_"))}
            print(json.dumps(told), flush=True)
            time.sleep(task.get("seconds", 300))
        """
    )
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs with their packages, installed as the lock file says."""
    directory = tmp_path_factory.mktemp("typescript")
    shutil.copytree(HERE, directory, dirs_exist_ok=True)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def deployed(system: System) -> None:
    assert system.deploy("agents", "ts-agent", AGENT)["status"] == "DEPLOYED"
    assert system.deploy("jobs", "ts-job", JOB)["status"] == "DEPLOYED"


def run(client: Path, env: dict[str, str], *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["node", *words], cwd=client, env=env, input=stdin, capture_output=True, timeout=BOUND_S, check=False
    )


def scenario(system: System, client: Path, name: str, stdin: bytes = b"", **more: str) -> Any:
    done = run(client, sdk_environment(system, **more), "client.mjs", name, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def credentials(system: System) -> str:
    """The client credentials of a service account, in the form that the SDKs read."""
    made = system.api.post("/service_accounts", json={"name": "typescript", "role": "admin"})
    assert made.status_code == 200, made.text
    account = made.json()
    return base64.b64encode(f"{account['client_id']}:{account['client_secret']}".encode()).decode()


@pytest.mark.usefixtures("deployed")
def test_the_sdk_calls_an_agent(system: System, client: Path) -> None:
    assert scenario(system, client, "agent") == {
        "status": 200,
        "text": '{"inputs":"hi"}|q=x|1',
        "missing": 404,
        "code": "WORKLOAD_NOT_FOUND",
        "name": "ts-agent",
        "url": f"{system.url}/default/agents/ts-agent",
    }


@pytest.mark.usefixtures("deployed")
def test_the_sdk_runs_lists_and_cancels_executions(system: System, client: Path) -> None:
    assert scenario(system, client, "cancel") == {"status": "cancelled", "unknown": 404}
    found = scenario(system, client, "job")
    assert found["status"] == found["seen"] == "succeeded"
    assert (found["stats"]["total"], found["stats"]["success"]) == (2, 2)
    assert found["tasks"] == [["task-0", "succeeded"], ["task-1", "succeeded"]]
    assert found["listed"] and found["pages"] >= 3


def test_the_sdk_creates_pages_updates_and_deletes_and_reads_errors(system: System, client: Path) -> None:
    found = scenario(system, client, "resources")
    assert found["shown"] == "By TypeScript"
    assert found["found"] == found["deleted"] == ["ts-policy-1", "ts-policy-2", "ts-policy-3"]
    assert (found["conflict"]["code"], found["conflict"]["error"]) == (409, "Conflict")
    assert found["missing"]["code"] == 404 and "never-was" in found["missing"]["message"]
    assert found["lists"] == [True, True]


def test_the_sdk_deploys_an_agent_and_a_job(system: System, client: Path) -> None:
    packed = archive({"main.py": AGENT["main.py"]})
    assert scenario(system, client, "deploy", stdin=packed) == [[200, 200, "DEPLOYED", "DELETING"]] * 2


def test_the_sdk_signs_in_with_client_credentials(system: System, client: Path, credentials: str) -> None:
    found = scenario(system, client, "whoami", BL_API_KEY="", BL_CLIENT_CREDENTIALS=credentials)
    assert found == {"token": "fetched", "lists": True}


@pytest.mark.usefixtures("deployed")
def test_the_lines_of_the_document_do_what_it_says(system: System, client: Path) -> None:
    lines = re.search(r"^```js\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert lines is not None
    program = lines[1].replace("hello-agent", "ts-agent").replace("word-count", "ts-job")
    (client / "document.mjs").write_text(program)
    done = run(client, sdk_environment(system), "document.mjs")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().splitlines() == ['200 {"inputs":"hello"}||', "succeeded"]


def test_a_job_whose_program_is_of_the_sdk_runs_its_tasks(system: System) -> None:
    files = {name: (HERE / name).read_text() for name in ("package-lock.json", "task.mjs")}
    package = json.loads((HERE / "package.json").read_text())
    files["package.json"] = json.dumps({**package, "scripts": {"start": "node task.mjs"}})
    assert system.deploy("jobs", "ts-node-job", files, {"runtime": {"memory": 1024}})["status"] == "DEPLOYED"
    done = system.execute("ts-node-job", [{"name": "a"}, {"fail": True}, {"name": "c", "list": [1]}])
    assert [task["status"] for task in done["tasks"]] == ["succeeded", "failed", "succeeded"]
    lines = [line["text"] for line in system.logs("jobs", "ts-node-job")]
    assert {'{"heard":{"name":"a"}}', '{"heard":{"name":"c","list":[1]}}'} <= {*lines}
    system.remove("jobs", "ts-node-job")


@pytest.mark.usefixtures("deployed")
def test_a_task_of_the_sdk_reads_its_arguments_from_its_address(system: System, client: Path) -> None:
    """With the environment that a running attempt has; the program itself runs outside, so that this is about the SDK
    and what it is told alone."""
    started = system.api.post("/jobs/ts-job/executions", json={"tasks": [{"name": "wait", "numbers": [1, 2]}]})
    execution = started.json()["executionId"]
    line = eventually(lambda: system.logs("jobs", "ts-job", execution=execution), "the task has told its environment")
    told = json.loads(line[0]["text"])
    env = {"PATH": os.environ["PATH"], "HOME": str(client), "DO_NOT_TRACK": "1", **told}
    done = run(client, env, "task.mjs")
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout.splitlines()[-1]) == {"heard": {"name": "wait", "numbers": [1, 2]}}
    by_flags = {key: value for key, value in env.items() if key != "BL_EXECUTION_DATA_URL"}
    assert run(client, by_flags, "task.mjs", "--fail").returncode == 1
    assert system.api.delete(f"/jobs/ts-job/executions/{execution}").status_code == 200
