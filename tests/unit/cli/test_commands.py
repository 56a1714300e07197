"""The command line as a program: what it sends, what it prints, how it exits."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from homeport.settings import DataDir

HOMEPORT = [sys.executable, "-c", "from homeport.cli.main import run; run()"]


class Cli:
    """`homeport` pointed at a scripted server."""

    def __init__(self, url: str, data: Path) -> None:
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("BL_", "HOMEPORT_"))}
        self.environment |= {"HOMEPORT_DATA": str(data)}
        data.mkdir()
        DataDir(data).state.write_text(json.dumps({"url": url, "port": int(url.rpartition(":")[2])}))
        DataDir(data).admin_key.write_text("the-key\n")

    def __call__(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*HOMEPORT, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )


@pytest.fixture
def cli(api: Any, tmp_path: Path) -> Cli:
    return Cli(api.url, tmp_path / "data")


def test_help_names_every_command_and_every_exit_code(cli: Cli) -> None:
    shown = cli("--help").stdout
    for command in (
        "up", "down", "status", "env", "doctor", "gc", "host-setup", "deploy", "apply", "get", "delete",
        "run",
        "executions", "secrets", "logs", "explain", "policies", "version",
    ):  # fmt: skip
        assert f"  {command} " in shown
    assert "3 refused" in shown and "4 no answer" in shown


def test_help_needs_none_of_the_slow_imports(cli: Cli) -> None:
    program = (
        "import sys\nimport homeport.cli.main\n"
        "slow = {'httpx', 'rich', 'yaml', 'pydantic', 'asyncio', 'homeport.client.http'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_every_command_teaches_by_example(cli: Cli) -> None:
    for words in (
        ["deploy"],
        ["run", "agent"],
        ["run", "job"],
        ["executions", "tasks"],
        ["logs"],
        ["apply"],
        ["get"],
        ["policies", "dry-run"],
    ):
        assert f"    homeport {' '.join(words)} " in cli(*words, "--help").stdout


def test_get_prints_tables_and_json(api: Any, cli: Cli) -> None:
    agent = {"metadata": {"name": "a", "createdAt": "2026-01-01T00:00:00Z"}, "spec": {}, "status": "DEPLOYED"}
    api.answers["GET /v0/agents?limit=200"] = api.answer(body={"data": [agent], "meta": {"hasMore": False}})
    assert "DEPLOYED" in cli("get", "agents").stdout
    assert json.loads(cli("get", "agents", "-o", "json").stdout) == [agent]
    assert "name: a" in cli("get", "agents", "-o", "yaml").stdout
    assert api.requests[0].headers["authorization"] == "Bearer the-key"


def test_a_refusal_exits_with_3_and_says_why_on_standard_error(api: Any, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("kind: Agent\nmetadata: {name: a}\nspec: {policies: [p]}\n")
    refusal = {"code": 403, "error": "Denied", "message": "Policy p allows EU only."}
    api.answers["PUT /v0/agents/a"] = api.answer(status=403, body=refusal)
    done = cli("apply", "-f", str(file))
    assert done.returncode == 3
    assert "Policy p allows EU only." in done.stderr
    assert done.stdout == ""


def test_no_answer_exits_with_4_and_says_how_to_start(tmp_path: Path) -> None:
    done = Cli("http://127.0.0.1:1", tmp_path / "data")("status")
    assert done.returncode == 4
    assert "No Homeport answers at http://127.0.0.1:1." in done.stderr and "homeport up" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["get", "sandwiches"],
        ["run", "job", "j"],
        ["run", "job", "j", "--data", "not json"],
        ["run", "job", "j", "--data", '{"no": "tasks"}'],
        ["deploy", "-d", "/nowhere"],
        ["explain", "sandwich", "m"],
        ["policies", "dry-run"],
        ["policies", "dry-run", "-f", "/nowhere"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_with_2(cli: Cli, words: list[str]) -> None:
    assert cli(*words).returncode == 2


def test_a_failure_exits_with_1(api: Any, cli: Cli) -> None:
    done = cli("get", "agent", "a")
    assert done.returncode == 1 and "no answer for GET /v0/agents/a" in done.stderr


def test_apply_reads_every_document_in_order(api: Any, cli: Cli) -> None:
    text = "kind: Policy\nmetadata: {name: p}\nspec: {type: location}\n---\nkind: Job\nmetadata: {name: j}\nspec: {}\n"
    api.answers |= {"PUT /v0/policies/p": api.answer(), "POST /v0/jobs": api.answer()}
    done = cli("apply", "-f", "-", input=text)
    assert done.stdout.splitlines() == ["policy p configured", "job j created"]


def deployment(api: Any, *statuses: str, events: list[dict[str, str]] | None = None) -> None:
    api.answers["PUT /v0/agents/a?upload=true"] = api.answer(
        body={"metadata": {"name": "a", "updatedAt": "2026-01-01T00:00:00Z"}},
        headers={"X-Blaxel-Upload-Url": f"{api.url}/upload/1"},
    )
    api.answers["PUT /upload/1"] = api.answer()
    api.answers["GET /v0/agents/a"] = [
        api.answer(body={"status": status, "events": events or []}) for status in statuses
    ]
    lines = [{"time": f"{year}-01-02T00:00:00Z", "text": f"line of {year}"} for year in (2025, 2026)]
    for follow in ("true", "false"):
        api.answers[f"GET /v0/homeport/logs/agents/a?source=build&follow={follow}"] = api.answer(
            body="\n".join(map(json.dumps, lines)).encode()
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "main.py").write_text("print()")
    return tmp_path / "a"


def test_deploy_uploads_follows_and_prints_the_address(api: Any, cli: Cli, folder: Path) -> None:
    (folder / "blaxel.toml").write_text('[runtime]\nmemory = 512\ntimeout = "15m"\n[env]\nA = "1"\nB = "2"\n')
    deployment(api, "UPLOADING", "BUILDING", "DEPLOYING", "DEPLOYED")
    done = cli("deploy", "-d", str(folder), "-p", "eu-only", "-e", "B=3")
    assert done.returncode == 0, done.stderr
    spec = json.loads(api.requests[0].body)["spec"]
    assert spec["policies"] == ["eu-only"]
    assert spec["runtime"]["memory"] == 512 and spec["runtime"]["timeout"] == 900
    assert {item["name"]: item["value"] for item in spec["runtime"]["envs"]} == {"A": "1", "B": "3"}
    assert f"a serves at {api.url}/default/agents/a/" in done.stderr
    assert done.stderr.count("line of 2026") == 1, "each line once"
    assert "line of 2025" not in done.stderr, "older builds are not shown"


def test_a_failed_deployment_exits_with_1_and_its_reason(api: Any, cli: Cli, folder: Path) -> None:
    event = {"status": "FAILED", "message": "it never listened", "time": "2026-01-01T00:00:01Z"}
    deployment(api, "BUILDING", "FAILED", events=[event])
    done = cli("deploy", "-d", str(folder))
    assert done.returncode == 1
    assert "it never listened" in done.stderr and "homeport logs agent a" in done.stderr


def test_an_interrupted_deploy_says_that_the_deployment_goes_on(api: Any, cli: Cli, folder: Path) -> None:
    deployment(api, "DEPLOYING")
    process = subprocess.Popen(
        [*HOMEPORT, "deploy", "-d", str(folder)], env=cli.environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not any(request.path == "/v0/agents/a" for request in api.requests):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(2)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "goes on" in said


def execution(status: str, **stats: int) -> dict[str, Any]:
    return {"metadata": {"id": "exec-1"}, "status": status, "stats": {"total": 3, **stats}}


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1), ("timeout", 1), ("cancelled", 1)])
def test_run_job_waits_and_exits_by_the_outcome(api: Any, cli: Cli, status: str, code: int) -> None:
    api.answers["POST /v0/jobs/j/executions"] = api.answer(body={"executionId": "exec-1"})
    api.answers["GET /v0/jobs/j/executions/exec-1"] = [
        api.answer(body=execution("running", running=2, success=1)),
        api.answer(body=execution(status, success=2, failure=1, retried=1)),
    ]
    done = cli("run", "job", "j", "--data", '[{"n": 1}, {"n": 2}, {"n": 3}]')
    assert done.returncode == code, done.stderr
    assert f"exec-1 {status}: 2/3 succeeded, 1 failed, 1 retried" in done.stdout
    assert json.loads(api.requests[0].body) == {"tasks": [{"n": 1}, {"n": 2}, {"n": 3}]}


def test_run_job_detached_prints_the_id_only(api: Any, cli: Cli, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.json"
    tasks.write_text('{"tasks": [{}]}')
    api.answers["POST /v0/jobs/j/executions"] = api.answer(body={"executionId": "exec-1"})
    assert cli("run", "job", "j", "-f", str(tasks), "--detach").stdout == "exec-1\n"


def test_run_agent_prints_json_and_streams(api: Any, cli: Cli) -> None:
    api.answers["POST /default/agents/a/"] = api.answer(body={"answer": "é"})
    events = b"data: 1\n\ndata: 2\n\n"
    api.answers["GET /default/agents/a/stream"] = api.answer(body=events, headers={"Content-Type": "text/event-stream"})
    assert json.loads(cli("run", "agent", "a", "-d", '{"q": 1}').stdout) == {"answer": "é"}
    assert json.loads(api.requests[0].body) == {"q": 1}
    assert cli("run", "agent", "a", "--path", "/stream", "--stream").stdout == events.decode()


def test_run_agent_points_to_the_output_only_where_a_program_ran(api: Any, cli: Cli) -> None:
    gone = {"error": {"code": "WORKLOAD_NOT_FOUND", "message": "There is no such workload.", "action": "Deploy it."}}
    api.answers["POST /default/agents/gone/"] = api.answer(status=404, body=gone)
    api.answers["POST /default/agents/a/"] = api.answer(status=404, body={"detail": "no such page"})
    refused, answered = cli("run", "agent", "gone"), cli("run", "agent", "a")
    assert refused.returncode == answered.returncode == 1
    assert "There is no such workload. Deploy it." in refused.stderr and "homeport logs" not in refused.stderr
    assert "no such page" in answered.stderr and "`homeport logs agent a`" in answered.stderr


def test_explain_exits_with_3_when_refused(api: Any, cli: Cli) -> None:
    steps = [{"subject": "policy eu-only", "verdict": "refuses", "sentence": "local is not in EU"}]
    body = {"kind": "agent", "name": "a", "outcome": "refused", "steps": steps, "refusal": {"message": "no region"}}
    api.answers["GET /v0/homeport/explain/agents/a"] = api.answer(body=body)
    done = cli("explain", "agent", "a")
    assert done.returncode == 3
    assert "local is not in EU" in done.stdout and "no region" in done.stdout


def test_a_dry_run_prints_who_would_be_refused_and_exits_with_3(api: Any, cli: Cli, tmp_path: Path) -> None:
    manifest = tmp_path / "policy.yaml"
    manifest.write_text(
        "kind: Policy\nmetadata: {name: p}\nspec: {type: location}\n---\nkind: Job\nmetadata: {name: j}\n"
    )
    effect = {"kind": "agent", "name": "a", "sentence": "Policy p allows EU.", "hint": "Detach it."}
    counts = {"refusedTotal": 1, "allowedTotal": 0, "movedTotal": 0, "unaffected": 7}
    body = {"name": "p", "change": "update", "outcome": "refuses", "refused": [effect], **counts}
    api.answers["POST /v0/homeport/policies/dry-run"] = api.answer(body=body)
    done = cli("policies", "dry-run", "-f", str(manifest), "--attach")
    assert done.returncode == 3
    assert "update policy p: refuses (1 refused, 0 allowed again, 0 moved, 7 unaffected)" in done.stdout
    assert "refused   agent  a     Policy p allows EU." in done.stdout and "Detach it." in done.stdout
    assert "a Job is no policy" in done.stderr
    sent = [json.loads(request.body) for request in api.requests]
    assert sent == [{"metadata": {"name": "p"}, "spec": {"type": "location"}, "attach": True}]
    safe = {**body, "outcome": "safe", "refused": [], "refusedTotal": 0}
    api.answers["POST /v0/homeport/policies/dry-run"] = api.answer(body=safe)
    done = cli("policies", "dry-run", "--delete", "p", "-o", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, safe)
    assert json.loads(api.requests[-1].body) == {"name": "p", "delete": True}


def test_a_policy_is_explained_with_its_users(api: Any, cli: Cli) -> None:
    users = [{"kind": "job", "name": "j", "outcome": "allowed", "sentence": "Placed."}]
    body = {"kind": "policy", "name": "p", "outcome": "allowed", "steps": [], "users": users, "usersTotal": 9}
    api.answers["GET /v0/homeport/explain/policies/p"] = api.answer(body=body)
    done = cli("explain", "policy", "p")
    assert done.returncode == 0
    assert "named by 9 workload(s), of which the first 1:" in done.stdout and "Placed." in done.stdout


def test_env_is_shell_and_prepends_the_hook(cli: Cli, api: Any) -> None:
    cli.environment["PYTHONPATH"] = "/some/where"
    program = 'eval "$($0 "$@")" && echo "$BL_API_URL $BL_RUN_URL $BL_WORKSPACE $BL_API_KEY $PYTHONPATH"'
    words = ["/bin/sh", "-c", program, *HOMEPORT, "env"]
    shown = subprocess.run(words, env=cli.environment, capture_output=True, text=True, timeout=60, check=True).stdout
    url, run, workspace, key, path = shown.split()
    assert (url, run, workspace, key) == (f"{api.url}/v0", api.url, "default", "the-key")
    hook, _, rest = path.partition(":")
    assert (Path(hook) / "sitecustomize.py").is_file() and rest == "/some/where"
    assert json.loads(cli("env", "-o", "json").stdout)["DO_NOT_TRACK"] == "1"


def test_down_says_when_nothing_runs(tmp_path: Path) -> None:
    words = [*HOMEPORT, "down", "--data", str(tmp_path / "none")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "Nothing of Homeport runs" in done.stdout


def test_gc_says_when_the_directory_is_not_there(tmp_path: Path) -> None:
    command = [*HOMEPORT, "gc", "--dry-run", "--data", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"There is no {tmp_path / 'none'}, and nothing is left of it.\n")
