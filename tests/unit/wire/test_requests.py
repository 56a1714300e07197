"""What callers send: nulls, unknown and read-only fields tolerated, mistakes named by path."""

from typing import Any

import pytest
from pydantic import ValidationError

from homeport.core.errors import Invalid
from homeport.wire.agents import AgentIn
from homeport.wire.body import Body, spec_dict
from homeport.wire.executions import CreateJobExecutionRequest
from homeport.wire.invalid import invalid_from, problems
from homeport.wire.jobs import JobIn
from homeport.wire.policies import PolicyIn

AGENT: dict[str, Any] = {
    "apiVersion": "blaxel.ai/v1alpha1",
    "kind": "Agent",
    "metadata": {
        "name": "hello",
        "displayName": "Hello",
        "labels": {"team": "a"},
        "createdAt": "2020-01-01T00:00:00Z",
        "createdBy": "somebody else",
        "url": "https://elsewhere.example",
        "workspace": "theirs",
        "plan": None,
    },
    "spec": {
        "enabled": True,
        "policies": ["eu-only"],
        "public": False,
        "region": None,
        "repository": {"type": "github", "url": "https://example.com/a/b"},
        "runtime": {
            "envs": [{"name": "GREETING", "value": "hi", "secret": True, "valueFrom": {"x": 1, "y": None}}],
            "generation": "mk3",
            "memory": 2048,
            "minScale": 0,
            "maxScale": None,
            "storageMb": 10,
        },
        "triggers": [
            {"type": "http", "configuration": {"path": "/invoke", "callbackSecret": "shown once", "schedule": None}}
        ],
        "volumes": None,
        "somethingNew": {"deep": [1, {"a": None, "b": 2}]},
    },
    "status": "DEPLOYED",
    "events": [{"message": "old"}],
}


def refused(body: type[Body], data: Any) -> Invalid:
    with pytest.raises(ValidationError) as caught:
        body.model_validate(data)
    return invalid_from(caught.value)


def test_an_agent_as_the_sdks_send_it_is_read_and_its_spec_kept_without_nulls() -> None:
    agent = AgentIn.model_validate(AGENT)
    assert (agent.metadata.name, agent.metadata.labels) == ("hello", {"team": "a"})
    assert not hasattr(agent.metadata, "created_by") and not hasattr(agent, "status")
    assert spec_dict(agent.spec) == {
        "enabled": True,
        "policies": ["eu-only"],
        "public": False,
        "repository": {"type": "github", "url": "https://example.com/a/b"},
        "runtime": {
            "envs": [{"name": "GREETING", "value": "hi", "secret": True, "valueFrom": {"x": 1}}],
            "generation": "mk3",
            "memory": 2048,
            "minScale": 0,
            "storageMb": 10,
        },
        "triggers": [{"type": "http", "configuration": {"path": "/invoke"}}],
        "somethingNew": {"deep": [1, {"b": 2}]},
    }


def test_an_empty_spec_stays_empty() -> None:
    assert spec_dict(AgentIn.model_validate({"metadata": {"name": "a"}, "spec": {}}).spec) == {}


def test_a_job_keeps_its_concurrency_its_duration_and_the_arguments_of_its_schedule() -> None:
    spec = {
        "runtime": {"maxConcurrentTasks": 3, "maxRetries": 2, "timeout": "15m", "ports": [{"target": 80}]},
        "triggers": [{"type": "cron", "configuration": {"schedule": "0 * * * *", "tasks": [{"a": None}, {}]}}],
    }
    job = JobIn.model_validate({"metadata": {"name": "j"}, "spec": spec})
    assert spec_dict(job.spec) == spec


def test_a_policy_with_every_part_is_kept_whole() -> None:
    spec = {
        "flavors": [{"name": "t4", "type": "cpu"}],
        "locations": [{"name": "EU", "type": "continent"}],
        "maxTokens": {
            "granularity": "minute",
            "input": 10000,
            "output": 5000,
            "ratioInputOverOutput": 2,
            "step": 1,
            "total": 15000,
        },
        "resourceTypes": ["model"],
        "sandbox": False,
        "type": "location",
    }
    policy = PolicyIn.model_validate({"metadata": {"name": "my-resource", "labels": {}}, "spec": spec})
    assert spec_dict(policy.spec) == spec


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metadata": None}, "metadata"),
        ({"metadata": {}}, "metadata.name"),
        ({"metadata": {"name": "Bad_Name"}}, "metadata.name"),
        ({"metadata": {"name": "a" * 50}}, "metadata.name"),
        ({"metadata": {"name": "a", "displayName": "x" * 64}}, "metadata.displayName"),
        ({"metadata": {"name": "a", "externalId": "no spaces"}}, "metadata.externalId"),
        ({"metadata": {"name": "a", "labels": {"k": 1}}}, "metadata.labels.k"),
        ({"spec": None}, "spec"),
        ({"spec": []}, "spec"),
        ({"spec": {"enabled": "yes"}}, "spec.enabled"),
        ({"spec": {"policies": ["a", 3]}}, "spec.policies[1]"),
        ({"spec": {"runtime": {"memory": "2048"}}}, "spec.runtime.memory"),
        ({"spec": {"runtime": {"memory": 1.5}}}, "spec.runtime.memory"),
        ({"spec": {"runtime": {"generation": "mk9"}}}, "spec.runtime.generation"),
        ({"spec": {"runtime": {"envs": [{"value": "x"}]}}}, "spec.runtime.envs[0].name"),
        ({"spec": {"triggers": [{"configuration": {"retry": "3"}}]}}, "spec.triggers[0].configuration.retry"),
    ],
)
def test_a_mistake_is_named_by_its_path(change: dict[str, Any], field: str) -> None:
    assert refused(AgentIn, {**AGENT, **change}).field == field


def test_rules_are_in_plain_words() -> None:
    assert refused(AgentIn, {**AGENT, "spec": {"enabled": "yes"}}).message == (
        "spec.enabled: must be true or false (got 'yes')."
    )
    assert refused(PolicyIn, {"metadata": {"name": "p"}, "spec": {"type": "weather"}}).rule == (
        "must be one of location, flavor, maxToken"
    )
    assert refused(PolicyIn, {"metadata": {"name": "p"}, "spec": {}}).message == "spec.type: is required."
    assert refused(AgentIn, "text").field == "body"


def test_every_mistake_is_named_and_their_number_is_bounded() -> None:
    wrong = {"metadata": {"name": "a"}, "spec": {"policies": [1] * 9}}
    error = refused(AgentIn, wrong)
    assert error.field == "spec.policies[0]"
    assert error.hint.count("must be a string") == 5 and error.hint.endswith("and 3 more.")
    with pytest.raises(ValidationError) as caught:
        AgentIn.model_validate(wrong)
    assert [path for path, _ in problems(caught.value.errors())] == [f"spec.policies[{index}]" for index in range(9)]


def test_a_secret_is_never_repeated_in_an_error() -> None:
    spec = {"runtime": {"envs": [{"name": "A", "value": 123456, "secret": "hush"}]}}
    error = refused(AgentIn, {**AGENT, "spec": spec})
    assert "123456" not in error.for_caller() and "hush" not in error.for_caller()
    assert "777" not in refused(CreateJobExecutionRequest, {"env": {"A": 777}}).for_caller()


def test_an_execution_keeps_its_tasks_exactly() -> None:
    body = {"tasks": [{"a": None, "b": [None]}, {}], "env": {"A": "1"}, "memory": 512, "workspaceId": "x", "new": 1}
    request = CreateJobExecutionRequest.model_validate(body)
    assert request.tasks_to_run() == [{"a": None, "b": [None]}, {}]
    assert request.may_queue()


def test_an_execution_without_tasks_has_one_and_nulls_and_empty_ids_count_as_absent() -> None:
    nothing = {"tasks": None, "env": None, "memory": None, "executionId": "", "id": None, "allowQueue": None}
    request = CreateJobExecutionRequest.model_validate(nothing)
    assert request.tasks_to_run() == [{}]
    assert (request.execution_id, request.id, request.may_queue()) == (None, None, True)
    assert not CreateJobExecutionRequest.model_validate({"allowQueue": False}).may_queue()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tasks": [None]}, "tasks[0]"),
        ({"tasks": ["a"]}, "tasks[0]"),
        ({"tasks": {}}, "tasks"),
        ({"memory": 0}, "memory"),
        ({"executionId": "../x"}, "executionId"),
        ({"executionId": "x" * 64}, "executionId"),
        ({"env": {"A": None}}, "env.A"),
    ],
)
def test_a_wrong_execution_is_named_by_its_path(body: dict[str, Any], field: str) -> None:
    assert refused(CreateJobExecutionRequest, body).field == field
