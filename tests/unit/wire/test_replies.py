"""What Homeport answers is read by the model classes of the public Python SDK, and holds no nulls."""

import os
from typing import Any

import pytest

os.environ["DO_NOT_TRACK"] = "1"  # before the import, which else reports to its vendor

from blaxel.core.client import models as sdk

from homeport.wire import agents, deployments, errors, executions, explanations, jobs, pages, policies
from homeport.wire.metadata import Metadata

TIME = "2026-01-01T00:00:00.000000Z"
METADATA = Metadata(
    name="hello",
    created_at=TIME,
    updated_at=TIME,
    created_by="sa-1",
    updated_by="sa-1",
    workspace="default",
    url="http://127.0.0.1:8080/default/agents/hello",
)
EVENT = deployments.CoreEvent(time=TIME, type="deployment", status="DEPLOYED", message="It serves.", reason="Serving")
TASK = executions.JobExecutionTask(
    metadata=executions.JobExecutionTaskMetadata(name="task-0", created_at=TIME, updated_at=TIME),
    spec=executions.task_spec(3, 1800),
    status="failed",
    conditions=[
        executions.JobExecutionTaskCondition(type="Ended", state="failed", reason="Exit", message="exit code 3")
    ],
    attempts=4,
)


def execution(status: Any = "running") -> executions.JobExecution:
    return executions.JobExecution(
        metadata=executions.JobExecutionMetadata(
            id="exec-1", job="resize", workspace="default", created_at=TIME, updated_at=TIME
        ),
        spec=executions.JobExecutionSpec(parallelism=5, timeout=3600, env_override=executions.masked({"A": "secret"})),
        status=status,
        stats=executions.JobExecutionStats(total=1, success=0, failure=1, running=0, cancelled=0, retried=3, lost=0),
        tasks=[TASK],
    )


def no_nulls(value: Any) -> bool:
    if isinstance(value, dict):
        return all(no_nulls(item) for item in value.values())
    return all(no_nulls(item) for item in value) if isinstance(value, list) else value is not None


def test_an_agent_is_read_by_the_sdk() -> None:
    spec = {"enabled": True, "runtime": {"memory": 2048, "envs": [{"name": "A", "value": "1"}]}, "policies": ["p"]}
    sent = agents.Agent(metadata=METADATA, spec=spec, events=[EVENT], status="DEPLOYED").to_json()
    read = sdk.Agent.from_dict(sent)
    assert (read.metadata.name, read.metadata.url, str(read.status)) == ("hello", METADATA.url, "DEPLOYED")
    assert read.spec.runtime.envs[0].name == "A"
    assert read.events[0].message == "It serves."
    assert no_nulls(sent) and "displayName" not in sent["metadata"]


def test_what_the_sdk_sends_back_is_read_again() -> None:
    spec = {"enabled": True, "runtime": {"memory": 2048}, "newer": {"x": 1}}
    sent = agents.Agent(metadata=METADATA, spec=spec, events=[EVENT], status="DEPLOYED").to_json()
    returned = agents.AgentIn.model_validate(sdk.Agent.from_dict(sent).to_dict())
    assert returned.metadata.name == "hello"
    assert (returned.spec.enabled, returned.spec.runtime and returned.spec.runtime.memory) == (True, 2048)


def test_a_job_is_read_by_the_sdk() -> None:
    spec = {"runtime": {"maxRetries": 3, "maxConcurrentTasks": 4, "timeout": 60}}
    read = sdk.Job.from_dict(jobs.Job(metadata=METADATA, spec=spec, events=[], status="BUILDING").to_json())
    assert (read.spec.runtime.max_retries, str(read.status)) == (3, "BUILDING")


def test_a_policy_with_its_usage_is_read_by_the_sdk() -> None:
    spec = {"type": "location", "locations": [{"name": "EU", "type": "continent"}], "resourceTypes": ["agent"]}
    usage = policies.PolicyUsageCounts(agents=2)
    read = sdk.Policy.from_dict(policies.Policy(metadata=METADATA, spec=spec, usage=usage).to_json())
    assert (str(read.spec.type_), read.spec.locations[0].name, read.usage.agents) == ("location", "EU", 2)


@pytest.mark.parametrize("status", list(executions.ExecutionStatus.__args__))  # type: ignore[attr-defined]
def test_an_execution_is_read_by_the_sdk(status: str) -> None:
    sent = execution(status).to_json()
    read = sdk.JobExecution.from_dict(sent)
    assert (read.metadata.id, read.spec.parallelism, read.spec.timeout, str(read.status)) == ("exec-1", 5, 3600, status)
    assert (read.stats.total, read.stats.failure, read.stats.retried) == (1, 1, 3)
    assert sent["spec"]["envOverride"] == {"A": "***"}
    (task,) = read.tasks
    assert (task.metadata.name, task.spec.timeout, task.spec.max_retries, str(task.status)) == (
        "task-0",
        "30m",
        3,
        "failed",
    )
    assert task.conditions[0].message == "exit code 3"
    assert no_nulls(sent)


def test_the_answer_to_a_new_execution_is_read_by_the_sdk() -> None:
    output = executions.CreateJobExecutionOutput(
        execution_id="exec-1", id="req-1", job_id="resize", workspace_id="default", tasks=[{"a": None}, {}]
    )
    read = sdk.CreateJobExecutionOutput.from_dict(output.to_json())
    assert (read.execution_id, read.id, read.job_id, read.workspace_id) == ("exec-1", "req-1", "resize", "default")


def test_pages_are_read_by_the_sdk() -> None:
    sent = pages.page_of([execution()], "next", 7).to_json()
    read = sdk.JobExecutionList.from_dict(sent)
    assert (len(read.data), read.meta.has_more, read.meta.next_cursor, read.meta.total) == (1, True, "next", 7)
    assert pages.page_of([], None, 0).to_json() == {
        "data": [],
        "meta": {"hasMore": False, "nextCursor": "", "total": 0},
    }


def test_revisions_and_errors_are_read_by_the_sdk() -> None:
    revision = deployments.RevisionMetadata(
        id="rev-1", status="serving", created_at=TIME, created_by="sa-1", active=True, traffic_percent=100
    )
    assert sdk.RevisionMetadata.from_dict(revision.to_json()).traffic_percent == 100
    error = sdk.Error.from_dict(errors.Error(code=403, error="Denied", message="No.").to_json())
    assert (error.code, error.error, error.message) == (403, "Denied", "No.")


def test_our_own_answers_hold_no_nulls() -> None:
    step = explanations.ExplainStep(subject="region local", verdict="refuses", sentence="No.")
    refusal = explanations.ExplainRefusal(message="No.", hint="Detach it.", policies=["eu"])
    explained = explanations.Explain(
        kind="agent", name="hello", outcome="refused", steps=[step], refusal=refusal
    ).to_json()
    assert no_nulls(explained) and set(explained) == {"kind", "name", "outcome", "steps", "refusal"}
