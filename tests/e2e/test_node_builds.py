"""Node.js sources, built with real npm and pnpm from the registry of this machine, and run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from homeport.testing.system import System

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(
        shutil.which("node") is None or shutil.which("npm") is None, reason="this machine has no node and npm"
    ),
]

IS_NUMBER = "sha512-Wu1VHeILBK8KAWJUAiSZQX94GmOE45Rg6/538fKwiloUu21KncEkYGPqob2oSZ5mUT73vLGrHQjKw3KMPwfDzg=="
IS_ODD = "sha512-CQpnWPrDwmP1+SMHXZhtLtJv90yiyVfluGsX5iNCVkrhQtU3TQHsUWPG9wkdk9Lgd5yNpAg9jQEo90CBaXgWMA=="
SERVER = """
const http = require("http");
const isOdd = require("is-odd");
http.createServer((request, answer) => {
  answer.end(JSON.stringify({ odd: isOdd(3), env: process.env, cwd: process.cwd(), argv: process.argv }));
}).listen(process.env.PORT, process.env.HOST);
"""
PLAIN = SERVER.replace('const isOdd = require("is-odd");', "const isOdd = (number) => number % 2 === 1;")
NPM_LOCK = {
    "name": "sample",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {
        "": {"name": "sample", "dependencies": {"is-odd": "3.0.1"}},
        "node_modules/is-number": {
            "version": "6.0.0",
            "integrity": IS_NUMBER,
        },
        "node_modules/is-odd": {
            "version": "3.0.1",
            "integrity": IS_ODD,
            "dependencies": {"is-number": "^6.0.0"},
        },
    },
}
PNPM_LOCK = """lockfileVersion: '9.0'

settings:
  autoInstallPeers: true
  excludeLinksFromLockfile: false

importers:

  .:
    dependencies:
      is-odd:
        specifier: 3.0.1
        version: 3.0.1

packages:

  is-number@6.0.0:
    resolution: {integrity: sha512-Wu1VHeILBK8KAWJUAiSZQX94GmOE45Rg6/538fKwiloUu21KncEkYGPqob2oSZ5mUT73vLGrHQjKw3KMPwfDzg==}
    engines: {node: '>=0.10.0'}

  is-odd@3.0.1:
    resolution: {integrity: sha512-CQpnWPrDwmP1+SMHXZhtLtJv90yiyVfluGsX5iNCVkrhQtU3TQHsUWPG9wkdk9Lgd5yNpAg9jQEo90CBaXgWMA==}
    engines: {node: '>=4'}

snapshots:

  is-number@6.0.0: {}

  is-odd@3.0.1:
    dependencies:
      is-number: 6.0.0
"""  # noqa: E501 a lock file's own lines


def package(**more: Any) -> str:
    return json.dumps({"name": "sample", "private": True, **more})


def deployed(system: System, name: str, files: dict[str, str]) -> Any:
    """What the program answers."""
    found = system.deploy("agents", name, files)
    assert found["status"] == "DEPLOYED", found["events"]
    answer = system.gateway.post(f"/agents/{name}").json()
    system.remove("agents", name)
    return answer


def failure(system: System, name: str, files: dict[str, str]) -> str:
    found = system.deploy("agents", name, files)
    assert found["status"] == "FAILED", found
    message = next(str(event["message"]) for event in found["events"] if event["reason"] == "BuildFailed")
    system.remove("agents", name)
    return message


def test_npm_installs_the_lock_runs_the_build_step_and_the_start_script(system: System) -> None:
    build = "node -e \"require('fs').mkdirSync('dist'); require('fs').copyFileSync('in.js', 'dist/out.js')\""
    files = {
        "package.json": package(
            dependencies={"is-odd": "3.0.1"}, scripts={"build": build, "start": "WORD=here node dist/out.js --flag"}
        ),
        "package-lock.json": json.dumps(NPM_LOCK),
        "in.js": SERVER,
        "blaxel.toml": '[build.args]\nARGUMENT = "of-the-build"\n',
        ".env.build": "TOKEN=of-the-build\n",
    }
    answer = deployed(system, "npm-built", files)
    assert answer["odd"] is True and answer["argv"][-1] == "--flag" and answer["cwd"] == "/app"
    env = answer["env"]
    assert (env["WORD"], env["NODE_ENV"]) == ("here", "production")
    assert "of-the-build" not in env.values(), "arguments of the build are not the program's"


def test_pnpm_installs_its_lock(system: System) -> None:
    files = {
        "package.json": package(dependencies={"is-odd": "3.0.1"}, scripts={"start": "node index.js"}),
        "pnpm-lock.yaml": PNPM_LOCK,
        "index.js": SERVER,
    }
    assert deployed(system, "pnpm-locked", files)["odd"] is True


def test_without_a_lock_packages_are_resolved_and_without_a_script_the_first_entry_file_starts(system: System) -> None:
    unlocked = {"package.json": package(dependencies={"is-odd": "^3.0.0"}), "src/index.js": SERVER}
    assert deployed(system, "unlocked", unlocked)["odd"] is True
    built = {
        "package.json": package(scripts={"build": "mkdir -p dist && cp in.js dist/server.js"}),
        "in.js": PLAIN,
    }
    assert deployed(system, "entry-built", built)["argv"][1].endswith("/dist/server.js")


def test_the_entrypoint_comes_before_the_scripts(system: System) -> None:
    files = {
        "package.json": package(scripts={"start": "exit 1"}),
        "other.js": PLAIN,
        "blaxel.toml": '[entrypoint]\nprod = "node other.js"\n[env]\nNODE_ENV = "test"\n',
    }
    assert deployed(system, "entrypoint", files)["env"]["NODE_ENV"] == "test"


def test_a_job_in_node_runs_its_tasks(system: System) -> None:
    files = {"package.json": package(scripts={"start": "node index.js"}), "index.js": 'console.log("task ran");'}
    assert system.deploy("jobs", "node-job", files)["status"] == "DEPLOYED"
    assert system.execute("node-job", [{}])["status"] == "succeeded"
    assert "task ran" in [line["text"] for line in system.logs("jobs", "node-job")]
    system.remove("jobs", "node-job")


def test_an_install_script_runs_in_the_sandbox_only(system: System) -> None:
    spy = (
        "const fs = require('fs'); const seen = [fs.existsSync('/etc/shadow'), process.getuid()];"
        "fs.writeFileSync('seen.json', JSON.stringify(seen))"
    )
    files = {
        "package.json": package(
            dependencies={"is-odd": "3.0.1"}, scripts={"preinstall": "node spy.js", "start": "node s.js"}
        ),
        "package-lock.json": json.dumps(NPM_LOCK),
        "spy.js": spy,
        "s.js": PLAIN.replace("odd: isOdd(3)", "odd: require('fs').readFileSync('seen.json', 'utf8')"),
    }
    assert json.loads(deployed(system, "spied", files)["odd"]) == [False, 1000]


def test_a_failed_step_says_the_step_the_command_and_its_last_lines(system: System) -> None:
    build = "echo almost; echo 'this is why' >&2; exit 3"
    said = failure(system, "broken", {"package.json": package(scripts={"build": build, "start": "node x.js"})})
    assert said.startswith("Building the program failed (exit code 3)")
    assert "Command: npm run build" in said and "  this is why" in said


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"package.json": package(dependencies={"a": "1"}), "yarn.lock": "", "index.js": ""}, "has yarn.lock"),
        ({"package.json": package()}, "must have a script 'start'"),
        ({"package.json": package(scripts={"start": "tsx a.ts"})}, "tsx is not there"),
        ({"package.json": package(engines={"node": ">=99"}), "index.js": ""}, "asks for Node.js >=99"),
        ({"package.json": "{", "index.js": ""}, "must be valid JSON"),
    ],
    ids=["yarn", "nothing", "missing", "engines", "json"],
)
def test_what_cannot_be_built_says_why(system: System, files: dict[str, str], words: str) -> None:
    assert words in failure(system, "refused", files)


def test_the_example_answers(system: System) -> None:
    example = Path(__file__).parents[2] / "examples" / "node-agent"
    deployed = system.command("deploy", "-d", str(example))
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    called = system.command("run", "agent", "node-agent", "-d", '{"inputs": "hi"}')
    assert json.loads(called.stdout) == {"answer": "Hello from node-agent!", "body": '{"inputs": "hi"}'}
    system.remove("agents", "node-agent")
