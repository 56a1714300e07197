"""The history of an execution on the wire, under `/v0/homeport/executions` (outside the contract)."""

from pydantic import Field

from homeport.wire.body import Reply


class ExecutionEntry(Reply):
    """One change, in order of `seq`. `task` is a task's number and `attempt` the attempt's, from 1; `ended` says how
    it ended, `task_status` what the task is since. `tasks` counts those that were accepted or cancelled."""

    seq: int
    time: str
    kind: str
    task: int | None = None
    attempt: int | None = None
    ended: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    task_status: str | None = None
    not_before: str | None = None
    status: str | None = None
    tasks: int | None = None
    grace_seconds: int | None = None


class ExecutionHistory(Reply):
    """`next` is what to ask for as `after` to go on; absent at the end for now."""

    data: list[ExecutionEntry]
    next: int | None = None


class HistoryViolation(Reply):
    """A broken rule. `seq` is the entry that breaks it; absent where the history does not lead to what is stored."""

    rule: str
    message: str
    seq: int | None = None


class ExecutionVerification(Reply):
    """What a replay of the history found. `complete` is false for an execution that is older than the log: then only
    what is stored was looked at. `violations` are the first of `violated`."""

    execution: str
    job: str
    status: str
    valid: bool
    complete: bool
    tasks: int
    terminal: int
    lost: int
    run_twice: int
    most_at_once: int
    parallelism: int
    starts: int
    retries: int
    interrupted: int
    entries: int
    violated: int
    violations: list[HistoryViolation] = Field(default_factory=list)
