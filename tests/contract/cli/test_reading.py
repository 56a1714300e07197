"""`get`, `executions`, `keys`, `accounts`, `explain` and completion against the real API."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from homeport.testing.served import Served

Cli = Callable[..., Any]


def make_policies(served: Served, *names: str) -> None:
    for name in names:
        body = {
            "metadata": {"name": name},
            "spec": {"type": "location", "locations": [{"type": "country", "name": "DE"}]},
        }
        answer = served.run(served.plane.api.post("/v0/policies", json=body))
        assert answer.status_code == 200, answer.text


def names_of(done: Any) -> list[str]:
    return [item["metadata"]["name"] for item in json.loads(done.out)]


def test_a_list_is_cut_sorted_and_narrowed_as_asked(cli: Cli, served: Served) -> None:
    assert cli("get", "policies").err == "There are no policies.\n"
    make_policies(served, "b-two", "a-one", "c-three")
    assert names_of(cli("get", "policies", "--sort", "name:asc", "-o", "json")) == ["a-one", "b-two", "c-three"]
    cut = cli("get", "policies", "--sort", "name:desc", "--limit", "2", "-o", "json")
    assert names_of(cut) == ["c-three", "b-two"]
    assert "2 of 3 policies are shown" in cut.err
    assert names_of(cli("get", "policies", "-q", "thr", "-o", "json")) == ["c-three"]
    assert cli("get", "policies", "-q", "none").err == "There are no policies that match.\n"


def test_the_status_filter_is_the_servers(cli: Cli, served: Served) -> None:
    served.run(served.plane.make_job("nightly"))
    assert names_of(cli("get", "jobs", "--status", "deployed", "-o", "json")) == ["nightly"]
    assert names_of(cli("get", "jobs", "--status", "failed", "-o", "json")) == []
    refused = cli("get", "jobs", "--status", "nonsense")
    assert refused.code == 1 and "status" in refused.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["get", "policies", "--status", "deployed"], "--status: is no option of policies"),
        (["get", "policies", "--sort", "size"], "createdAt:desc"),
        (["get", "policies", "p", "--limit", "3"], "of a list"),
        (["get", "sandwiches"], "must be one of agents, functions, jobs"),
        (["get", "executions"], "homeport get executions JOB [EXECUTION]"),
        (["get", "locations", "here"], "homeport get locations"),
        (["get", "revisions", "hello"], "KIND/NAME"),
        (["logs", "agent", "a", "--since", "yesterday"], "10m"),
        (["logs", "agent", "a", "exec-1"], "is a job's"),
        (["logs", "job", "j", "exec-1", "seven"], "task-7"),
        (["accounts", "create", "x", "--role", "god"], "member or admin"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_the_rule(cli: Cli, words: list[str], says: str) -> None:
    done = cli(*words)
    assert done.code == 2 and says in done.err, done.err


def test_a_kind_that_is_not_served_is_told_from_a_kind_that_is_none(cli: Cli) -> None:
    for word in ("sandboxes", "sandbox", "volume-template", "model", "integrationconnections"):
        done = cli("get", word)
        assert done.code == 1 and "not served by this version" in done.err


def test_what_belongs_to_a_workload_is_found_both_ways(cli: Cli, served: Served) -> None:
    served.run(served.plane.make_job("nightly"))
    started = served.run(served.plane.api.post("/v0/jobs/nightly/executions", json={"tasks": [{}, {}]})).json()
    execution = started["executionId"]
    nested = json.loads(cli("get", "job", "nightly", "executions", "-o", "json").out)
    assert nested == json.loads(cli("get", "executions", "nightly", "-o", "json").out)
    assert nested == json.loads(cli("executions", "list", "nightly", "-o", "json").out)
    assert [item["metadata"]["id"] for item in nested] == [execution]
    one = json.loads(cli("get", "job", "nightly", "executions", execution, "-o", "json").out)
    assert one == json.loads(cli("executions", "get", "nightly", execution, "-o", "json").out)
    assert len(json.loads(cli("executions", "tasks", "nightly", execution, "-o", "json").out)) == 2
    assert len(json.loads(cli("get", "tasks", "nightly", execution, "--limit", "1", "-o", "json").out)) == 1
    assert json.loads(cli("get", "tasks", "nightly", execution, "--status", "failed", "-o", "json").out) == []
    revisions = json.loads(cli("get", "revisions", "job/nightly", "-o", "json").out)
    assert revisions == json.loads(cli("get", "job", "nightly", "revisions", "-o", "json").out)
    assert [item["status"] for item in revisions] == ["serving"]


def test_cancelling_says_what_came_of_it(cli: Cli, served: Served) -> None:
    served.run(served.plane.make_job("nightly"))
    started = served.run(served.plane.api.post("/v0/jobs/nightly/executions", json={"tasks": [{}]})).json()
    execution = started["executionId"]
    assert "cancelled" in cli("executions", "cancel", "nightly", execution).out
    found = json.loads(cli("executions", "cancel", "nightly", execution, "-o", "json").out)
    assert found["status"] in ("cancelling", "cancelled")
    unknown = cli("executions", "cancel", "nightly", "exec-none")
    assert unknown.code == 1 and "exec-none" in unknown.err


def test_one_resource_shows_its_events(cli: Cli, served: Served) -> None:
    served.run(served.plane.make_job("nightly"))
    shown = cli("get", "job", "nightly").out
    assert "accepted; placed in region local" in shown and "AGO" in shown


def test_workspaces_and_regions_are_shown(cli: Cli) -> None:
    assert json.loads(cli("get", "workspace", "home", "-o", "json").out)["name"] == "home"
    assert "home" in cli("get", "workspaces").out
    missing = cli("get", "workspace", "nope")
    assert missing.code in (1, 3) and "nope" in missing.err


def test_yaml_and_json_hold_the_same_whole_objects(cli: Cli, served: Served) -> None:
    import yaml

    make_policies(served, "eu")
    stored = served.run(served.plane.api.get("/v0/policies/eu")).json()
    assert json.loads(cli("get", "policy", "eu", "-o", "json").out) == stored
    assert yaml.safe_load(cli("get", "policy", "eu", "-o", "yaml").out) == stored


class TestKeys:
    """Service accounts and their keys."""

    def test_a_key_works_is_shown_once_and_ends(self, cli: Cli, served: Served) -> None:
        created = cli("accounts", "create", "ci", "--description", "pipelines")
        assert "client secret" in created.out
        made = cli("keys", "create", "ci", "--name", "main", "--expires-in", "30d")
        value = made.out.strip()
        assert "\n" not in value and "not shown again" in made.err
        assert served.run(served.plane.send(value, "GET", "/v0/agents")).status_code == 200
        listed = json.loads(cli("keys", "list", "ci", "-o", "json").out)
        assert [(key["name"], key["expires_in"]) for key in listed] == [("main", "30d")]
        assert value not in json.dumps(listed)
        assert "main" in cli("keys", "list").out and "ci" in cli("accounts", "list").out
        assert "revoked" in cli("keys", "revoke", listed[0]["id"]).out
        assert served.run(served.plane.send(value, "GET", "/v0/agents")).status_code == 401
        assert cli("accounts", "delete", "ci").out == "service account ci deleted\n"
        assert cli("keys", "list", "ci").code == 1

    def test_what_is_not_there_says_the_next_step(self, cli: Cli) -> None:
        done = cli("keys", "create", "nobody")
        assert done.code == 1 and "homeport accounts create nobody" in done.err
        assert "homeport keys list" in cli("keys", "revoke", "key-none").err

    def test_a_bad_lifetime_is_the_servers_word(self, cli: Cli) -> None:
        cli("accounts", "create", "ci")
        done = cli("keys", "create", "ci", "--expires-in", "soon")
        assert done.code == 1 and "expires_in" in done.err


class TestCompletion:
    """What a shell is offered."""

    @pytest.fixture
    def complete(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
        def complete(line: str) -> list[str]:
            monkeypatch.setenv("_HOMEPORT_COMPLETE", "complete_bash")
            monkeypatch.setenv("COMP_WORDS", line)
            monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
            done = cli()
            assert done.err == ""
            return [str(word) for word in done.out.split()]

        return complete

    def test_names_come_from_the_server(self, complete: Any, served: Served) -> None:
        make_policies(served, "eu-only", "eu-west", "gpu")
        served.run(served.plane.make_job("nightly"))
        assert complete("homeport get policies eu") == ["eu-only", "eu-west"]
        assert complete("homeport delete policy ") == ["eu-only", "eu-west", "gpu"]
        assert complete("homeport run job n") == ["nightly"]
        assert complete("homeport explain job ") == ["nightly"]
        assert complete("homeport get revisions ") == ["job/nightly"]
        assert complete("homeport get job nightly ") == ["executions", "revisions"]
        assert "agents" in complete("homeport get a")

    def test_executions_follow_their_job(self, complete: Any, served: Served) -> None:
        served.run(served.plane.make_job("nightly"))
        started = served.run(served.plane.api.post("/v0/jobs/nightly/executions", json={"tasks": [{}]})).json()
        for line in ("executions get nightly ", "get executions nightly ", "logs job nightly "):
            assert complete(f"homeport {line}") == [started["executionId"]]

    def test_rollouts_know_workloads_their_revisions_and_signing_keys(self, complete: Any, served: Served) -> None:
        served.run(served.plane.make_job("nightly"))
        (revision,) = served.run(served.plane.api.get("/v0/jobs/nightly/revisions")).json()
        assert complete("homeport rollout status job/n") == ["job/nightly"]
        assert complete("homeport rollout status --kind job n") == ["nightly"]
        assert complete("homeport rollout undo job/nightly --to ") == [revision["id"]]
        assert complete("homeport rollout promote nightly --kind job --to ") == [revision["id"]]
        assert len(complete("homeport keys retire ")) == 1

    def test_without_a_server_it_is_silent(self, complete: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BL_API_URL", "http://127.0.0.1:1/v0")
        assert complete("homeport get agents ") == []
        monkeypatch.setenv("BL_API_URL", "nonsense")
        assert complete("homeport get agents ") == []


def test_an_unforeseen_failure_is_one_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of all things\x1b[2J")

    monkeypatch.setattr("homeport.client.http.Homeport.get", fail)
    done = cli("get", "policy", "p")
    assert done.code == 1 and "Traceback" not in done.err and "homeport --debug" in done.err
    assert "\x1b" not in done.err
    assert "Traceback" in cli("--debug", "get", "policy", "p").err


def test_ctrl_c_exits_with_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("homeport.client.http.Homeport.get", interrupt)
    assert cli("get", "policy", "p").code == 130


def test_executions_and_tasks_are_sorted_and_searched_by_the_server(cli: Cli, served: Served) -> None:
    served.run(served.plane.make_job("nightly"))
    made = []
    for seconds in (1, 2):
        served.plane.clock.move(seconds)
        started = served.run(served.plane.api.post("/v0/jobs/nightly/executions", json={"tasks": [{}, {}]})).json()
        made.append(started["executionId"])
    listed = json.loads(cli("get", "executions", "nightly", "--sort", "createdAt:asc", "-o", "json").out)
    assert [item["metadata"]["id"] for item in listed] == made
    found = json.loads(cli("get", "executions", "nightly", "-q", made[0], "-o", "json").out)
    assert [item["metadata"]["id"] for item in found] == [made[0]]
    tasks = json.loads(cli("get", "tasks", "nightly", made[0], "--sort", "name:desc", "-o", "json").out)
    assert [task["metadata"]["name"] for task in tasks] == ["task-1", "task-0"]


def test_a_key_that_is_refused_says_where_keys_come_from(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BL_API_KEY", "nonsense")
    done = cli("get", "agents")
    assert done.code == 1 and "homeport login URL" in done.err
