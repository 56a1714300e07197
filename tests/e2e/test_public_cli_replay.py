"""What the public command line sends, command by command, against a running Homeport. The program itself, where it can
be had, is in test_public_cli.py."""

import textwrap
from collections.abc import Iterator

import pytest

from homeport.testing.public_cli import CliError, PublicCli, fetch_token
from homeport.testing.system import System, eventually

AGENT = {
    "src/main.py": textwrap.dedent(
        """
        async def app(scope, receive, send):
            if scope["type"] != "http":
                return
            body = (await receive()).get("body", b"")
            print("heard", body.decode(), flush=True)
            status = 500 if b"fail" in body else 200
            kind = b"text/event-stream" if b"stream" in scope["query_string"] else b"application/json"
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
            await send({"type": "http.response.body", "body": b'{"path": "%s"}' % scope["path"].encode()})
        """
    ),
    "blaxel.toml": 'name = "ignored-here"\ntype = "agent"\n',
}
JOB = {
    "main.py": textwrap.dedent(
        """
        import json, os, urllib.request
        with urllib.request.urlopen(os.environ["BL_EXECUTION_DATA_URL"]) as answer:
            print("task", json.load(answer)["tasks"][0]["name"], flush=True)
        """
    )
}
BROKEN = {"main.py": "app = 1\n", "requirements.txt": "there-is-no-such-package-as-this==1.0\n"}
POLICY = {
    "metadata": {"name": "cli-here"},
    "spec": {"type": "location", "resourceTypes": ["agent"], "locations": [{"type": "location", "name": "local"}]},
}


@pytest.fixture(scope="module")
def cli(system: System) -> Iterator[PublicCli]:
    with PublicCli(f"{system.url}/v0", system.url, "default", key=system.key) as cli:
        yield cli


@pytest.fixture(scope="module")
def agent(system: System, cli: PublicCli) -> str:
    """Deployed without a terminal: the command ends with its upload."""
    accepted = cli.deploy("agents", "cli-agent", AGENT, {"memory": 256})
    assert accepted.json()["metadata"]["url"] == f"{system.url}/default/agents/cli-agent"
    assert system.settled("agents", "cli-agent")["status"] == "DEPLOYED"
    return "cli-agent"


@pytest.fixture(scope="module")
def job(system: System, cli: PublicCli) -> str:
    cli.deploy("jobs", "cli-job", JOB, {"memory": 256, "maxRetries": 0, "timeout": 60})
    assert system.settled("jobs", "cli-job")["status"] == "DEPLOYED"
    return "cli-job"


def test_a_login_with_a_key_and_one_with_client_credentials_find_the_workspace(system: System, cli: PublicCli) -> None:
    assert cli.login()
    made = system.api.post("/service_accounts", json={"name": "command line", "role": "admin"}).json()
    token = fetch_token(f"{system.url}/v0", made["client_id"], made["client_secret"])
    # The path that `bl token` makes of the address, without its last part.
    assert fetch_token(system.url, made["client_id"], made["client_secret"])
    with PublicCli(f"{system.url}/v0", system.url, "default", token=token) as with_token:
        assert with_token.login() == cli.login()
        assert isinstance(with_token.get("agents"), list)
    with (
        PublicCli(f"{system.url}/v0", system.url, "elsewhere", key=system.key) as elsewhere,
        pytest.raises(CliError) as refused,
    ):
        elsewhere.login()
    assert refused.value.status in (401, 403)
    with pytest.raises(CliError):
        fetch_token(f"{system.url}/v0", made["client_id"], "wrong")
    system.api.delete(f"/service_accounts/{made['client_id']}")


def test_an_interactive_deployment_of_an_agent_ends_by_itself_with_its_log(system: System, cli: PublicCli) -> None:
    """Its build takes less time than the first look that counts."""
    cli.deploy("agents", "cli-watched", AGENT, {"memory": 256})
    watched = cli.watch("agents", "cli-watched", bound_s=60)
    assert watched.statuses[0] == watched.statuses[1] == "BUILDING"
    assert watched.statuses[-1] == "DEPLOYED"
    built = [line["text"] for line in system.logs("agents", "cli-watched", source="build")]
    # The program may have begun to print before the CLI saw the end of the build.
    assert built and watched.log[: len(built)] == built, "all of it, though the CLI asked only from when it noticed"
    assert cli.delete("agents", "cli-watched")["status"] == "DELETING"


def test_an_interactive_deployment_of_a_job_ends_by_itself(cli: PublicCli) -> None:
    cli.deploy("jobs", "cli-watched", JOB, {})
    assert cli.watch("jobs", "cli-watched", bound_s=60).statuses[-1] == "DEPLOYED"
    # Again, over a deployment that stands: the first look finds neither the old status nor the new one.
    cli.deploy("jobs", "cli-watched", JOB, {"memory": 256})
    assert cli.watch("jobs", "cli-watched", bound_s=60).statuses[-1] == "DEPLOYED"
    cli.delete("jobs", "cli-watched")


def test_an_interactive_deployment_that_fails_says_so(cli: PublicCli) -> None:
    cli.deploy("agents", "cli-broken", BROKEN, {})
    with pytest.raises(CliError, match="FAILED"):
        cli.watch("agents", "cli-broken", bound_s=90)
    assert any("there-is-no-such-package-as-this" in line for line in cli.logs("agents", "cli-broken"))
    cli.delete("agents", "cli-broken")


def test_get_lists_pages_and_single_things(cli: PublicCli, agent: str, job: str) -> None:
    assert agent in [item["metadata"]["name"] for item in cli.get("agents")]
    assert job in [item["metadata"]["name"] for item in cli.get("jobs", limit=1, every=True)]
    for kind in ("models", "functions", "sandboxes", "applications", "volumes", "drives"):
        assert cli.get(kind) == []
    shown = cli.get_one("agents", agent)
    assert (shown["metadata"]["workspace"], shown["metadata"]["name"]) == ("default", agent)
    eventually(lambda: cli.get_one("agents", agent)["status"] == "DEPLOYED", "the build is no longer shown as going on")
    with pytest.raises(CliError) as missing:
        cli.get_one("agents", "never-was")
    assert missing.value.status == 404 and "never-was" in str(missing.value)


def test_an_agent_is_run_with_parameters_that_go_with_the_look_up_too(cli: PublicCli, agent: str) -> None:
    assert cli.run("agents", agent, "", '{"inputs": "hi"}', mode="x", limit="many").json() == {"path": "/"}
    assert cli.run("agents", agent, "deep//path", "{}").json()["path"].startswith("/deep/")
    answer = cli.run("agents", agent, "", "{}", stream="true")  # as `bl chat` asks
    assert answer.headers["content-type"] == "text/event-stream"


def test_a_program_that_fails_runs_once(system: System, cli: PublicCli, agent: str) -> None:
    def heard() -> int:
        return [line["text"] for line in system.logs("agents", agent)].count("heard fail")

    before = heard()
    with pytest.raises(CliError) as failed:
        cli.run("agents", agent, "", "fail")
    assert failed.value.status == 500
    eventually(lambda: heard() > before, "the program has told of its call")
    assert heard() == before + 1


def test_a_job_is_run_and_its_log_found_by_the_eight_characters_that_were_printed(
    system: System, cli: PublicCli, job: str
) -> None:
    first = cli.run_job(job, '{"tasks": [{"name": "one"}, {"name": "two"}]}')
    assert len(first) == 8
    executions = cli.decoded("GET", f"jobs/{job}/executions")["data"]
    assert executions[0]["metadata"]["id"].startswith(first)
    done = system.ended(job, executions[0]["metadata"]["id"])
    assert (done["status"], done["stats"]["success"]) == ("succeeded", 2)
    shown = cli.get_one(f"jobs/{job}/executions", done["metadata"]["id"])
    assert shown["status"] == "succeeded" and shown["metadata"]["job"] == job
    assert sorted(cli.logs("jobs", job, executionId=first)) == ["task one", "task two"]
    assert cli.logs("jobs", job, executionId=first, taskId="task-1") == ["task two"]
    assert cli.logs("jobs", job, executionId=first, taskId="1", search="one") == []


def test_logs_are_followed_without_a_line_twice_or_missed(system: System, cli: PublicCli, agent: str) -> None:
    """The second poll looks back over what the first one had; the CLI tells lines apart by time and text."""

    def heard(since_s: float) -> list[str]:
        return [line for line in cli.logs("agents", agent, since_s=since_s) if line.startswith("heard ")]

    cli.run("agents", agent, "", "follow")
    cli.run("agents", agent, "", "follow")
    eventually(lambda: heard(15 * 60)[-2:] == ["heard follow"] * 2, "both calls are in the log")
    cli.run("agents", agent, "", "more")
    eventually(lambda: heard(60)[-3:] == ["heard follow", "heard follow", "heard more"], "the next poll has the third")
    assert cli.logs("agents", agent, severity="FATAL") == []
    with pytest.raises(CliError) as missing:
        cli.logs("agents", "never-was")
    assert missing.value.status == 404


def test_apply_creates_configures_and_says_in_a_sentence_what_it_cannot(cli: PublicCli, agent: str, job: str) -> None:
    assert cli.apply("policies", POLICY)[0] == "created"
    assert cli.apply("policies", POLICY)[0] == "configured"
    spec = {"runtime": {"memory": 256, "envs": [{"name": "A", "value": "1"}]}, "policies": ["cli-here"]}
    for kind, name in (("agents", agent), ("jobs", job)):
        wanted = spec if kind == "agents" else {"runtime": spec["runtime"]}
        done, answer = cli.apply(kind, {"metadata": {"name": name, "labels": {}}, "spec": wanted})
        assert done == "configured" and answer.json()["spec"]["runtime"]["envs"][0]["name"] == "A"
    with pytest.raises(CliError) as refused:
        cli.apply("agents", {"metadata": {"name": "cli-new"}, "spec": {"runtime": {"memory": 256}}})
    assert refused.value.status == 400 and str(refused.value).startswith("spec")
    cli.apply("agents", {"metadata": {"name": agent, "labels": {}}, "spec": {"runtime": {"memory": 256}}})
    assert cli.delete("policies", "cli-here")["metadata"]["name"] == "cli-here"


def test_a_conflict_is_not_repeated(cli: PublicCli) -> None:
    cli.apply("policies", POLICY)
    before = len(cli.sent)
    answer = cli.send("POST", f"{cli._api}/policies", json=POLICY)
    assert answer.status_code == 409 and len(cli.sent) == before + 1
    cli.delete("policies", "cli-here")


def test_a_deletion_answers_with_the_resource_and_is_not_waited_for(
    system: System, cli: PublicCli, agent: str, job: str
) -> None:
    for kind, name in (("agents", agent), ("jobs", job)):
        system.settled(kind, name)
        gone = cli.delete(kind, name)
        assert (gone["metadata"]["name"], gone["status"]) == (name, "DELETING")
    with pytest.raises(CliError):
        cli.delete("agents", "never-was")
