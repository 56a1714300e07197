"""Executions and their tasks on the wire (public contract)."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from homeport.core.environment import ENVS_MOST, check_value, check_variable
from homeport.core.errors import Invalid
from homeport.core.ids import TASK_PREFIX
from homeport.core.spec import duration_text
from homeport.wire.body import Body, Reply
from homeport.wire.pages import ListOf

MASK = "***"  # how the contract shows an overriding variable's value
_ID = r"^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$"  # part of URLs and of unit ids
ExecutionStatus = Literal["queued", "pending", "running", "cancelling", "cancelled", "failed", "succeeded", "timeout"]
# As the contract lists them; `unspecified` and `reconciling` are never sent.
TaskStatus = Literal["unspecified", "pending", "reconciling", "failed", "succeeded", "running", "cancelled"]


def _empty_is_absent(value: Any) -> Any:
    return None if value == "" else value


def _environment(value: dict[str, str] | None) -> dict[str, str] | None:
    """Refuse at once what no process could be started with. Values stay out of the message."""
    if value and len(value) > ENVS_MOST:
        raise ValueError(f"must have at most {ENVS_MOST} variables")
    for name, text in (value or {}).items():
        try:
            check_value(text, check_variable(name, "env"))
        except Invalid as exc:
            raise ValueError(f"{exc.rule} (variable {name.partition('=')[0][:60]!r})") from exc
    return value


class CreateJobExecutionRequest(Body):
    """`job_id` and `workspace_id` repeat the path and are not read. Tasks are kept exactly, nulls included: they are
    a program's arguments. No tasks at all means one without arguments, as the contract has it for schedules."""

    tasks: list[dict[str, Any]] | None = None
    env: Annotated[dict[str, str] | None, AfterValidator(_environment)] = None
    memory: Annotated[int | None, Field(ge=1)] = None
    execution_id: Annotated[Annotated[str, Field(pattern=_ID)] | None, BeforeValidator(_empty_is_absent)] = None
    id: Annotated[Annotated[str, Field(max_length=128)] | None, BeforeValidator(_empty_is_absent)] = None
    allow_queue: bool | None = None
    job_id: str | None = None
    workspace_id: str | None = None

    def tasks_to_run(self) -> list[dict[str, Any]]:
        return self.tasks or [{}]

    def may_queue(self) -> bool:
        return self.allow_queue is not False


class CreateJobExecutionOutput(Reply):
    execution_id: str
    id: str
    job_id: str
    workspace_id: str
    tasks: list[dict[str, Any]] | None = None


class JobExecutionMetadata(Reply):
    id: str
    job: str
    workspace: str
    created_at: str
    updated_at: str
    started_at: str | None = None
    completed_at: str | None = None


class JobExecutionSpec(Reply):
    """`timeout` in seconds. The values of `env_override` are masked by `masked`."""

    parallelism: int
    timeout: int
    memory_override: int | None = None
    env_override: dict[str, str] | None = None


class JobExecutionStats(Reply):
    """`lost` is an addition of ours: attempts whose end cannot be known. Each is tried again like a failure."""

    total: int
    success: int
    failure: int
    running: int
    cancelled: int
    retried: int
    lost: int


class JobExecutionTaskMetadata(Reply):
    name: str
    created_at: str
    updated_at: str
    scheduled_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None


class JobExecutionTaskSpec(Reply):
    """Here `timeout` is a duration such as `30m`, as the contract has it."""

    max_retries: int
    timeout: str


class JobExecutionTaskCondition(Reply):
    """The contract leaves every text free; ours has one, of type `Ended`, whose message says how the last attempt
    ended."""

    type: str
    state: str
    reason: str
    message: str


class JobExecutionTask(Reply):
    """`status` is never sent empty or null. `attempts` is an addition of ours: starts so far."""

    metadata: JobExecutionTaskMetadata
    spec: JobExecutionTaskSpec
    status: TaskStatus
    conditions: list[JobExecutionTaskCondition] | None = None
    attempts: int | None = None


class JobExecutionTaskList(ListOf[JobExecutionTask]):
    pass


class JobExecution(Reply):
    metadata: JobExecutionMetadata
    spec: JobExecutionSpec
    status: ExecutionStatus
    stats: JobExecutionStats
    tasks: list[JobExecutionTask] | None = None


class JobExecutionList(ListOf[JobExecution]):
    pass


def task_name(index: int) -> str:
    """The name under which a task is shown: `task-0`, `task-1`, …"""
    return f"{TASK_PREFIX}{index}"


def task_spec(max_retries: int, timeout_s: int) -> JobExecutionTaskSpec:
    return JobExecutionTaskSpec(max_retries=max_retries, timeout=duration_text(timeout_s))


def masked(env: dict[str, str]) -> dict[str, str] | None:
    """The overriding variables as the contract shows them; None for none."""
    return dict.fromkeys(env, MASK) or None
