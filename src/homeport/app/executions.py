"""Start, read and cancel executions. Tasks are staged in short commits under an invisible execution; one small commit
makes it visible: killed before that, nothing was accepted, and the sweep removes what was staged."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from homeport.app.context import Context
from homeport.app.governance import form_of, judge
from homeport.app.pages import PageRequest, fingerprint_of, make_cursor, open_cursor, page_limit
from homeport.app.resources import fetch
from homeport.app.sealing import digest_of, seal_digest
from homeport.build.bundle import load_bundle
from homeport.core.errors import Conflict, Denied, Invalid, LimitExceeded, NotFound
from homeport.core.ids import ExecutionId, Kind, UnitId, new_id
from homeport.core.limits import EXECUTION_PAGE_LIMIT, EXECUTION_PAGE_LIMIT_MAX, PAGE_LIMIT, PAGE_LIMIT_MAX
from homeport.identity.keys import TASK_AUDIENCE
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.jobs.settings import JobSettings
from homeport.jobs.states import ExecutionStatus
from homeport.sealing.specs import Owner, masked, seal_env
from homeport.store.contract import Transaction
from homeport.store.records import Execution, ExecutionQuery, Resource, Revision, Task, TaskQuery
from homeport.workloads.traffic import draw_of

STAGE_TASKS = 5000  # tasks a commit while staging: some 10 ms, so that other writes are not held up


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionIntent:
    """What a caller asks for. `tasks` None is one task without arguments (public contract); `memory` in MB."""

    tasks: Sequence[dict[str, Any]] | None = None
    env: dict[str, str] = field(default_factory=dict)
    memory: int | None = None
    execution_id: str | None = None
    request_id: str | None = None
    allow_queue: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """Tasks of an execution in order; `cursor` is empty at the end."""

    items: list[Task]
    cursor: str
    total: int


async def create_execution(context: Context, principal: Principal, job: str, intent: ExecutionIntent) -> Execution:
    """Accept an execution of `job`; it runs in the background. The same id with the same content gives the same
    execution again.

    Raises `NotFound`, `Invalid`, `Denied` when a policy refuses or the job is disabled, `Conflict` when the job has
    nothing to run yet or the id is taken by other content, `LimitExceeded` when it may not wait and would have to,
    `DiskFull`.
    """
    require(principal, "jobs:run", "jobs:create")
    context.space.require()
    tasks = [{}] if intent.tasks is None else intent.tasks
    if not tasks:
        raise Invalid("tasks", "must have at least one element; leave it out for one task without arguments")
    now = context.clock.now()
    digest = _digest(intent, tasks)
    planned = await context.store.read(lambda tx: _plan(context, tx, principal, job, intent, digest))
    if planned.visible:
        return planned
    if planned.id in context.staging:
        raise Conflict(f"The execution id {planned.id!r} is being accepted now.", hint="Try again, or use another id.")
    context.staging.add(planned.id)
    try:
        await _stage_all(context, planned, tasks, now)
        execution = await _publish(context, principal, planned, intent, digest)
    finally:
        context.staging.discard(planned.id)
    context.signals.runner.wake()
    return execution


async def _stage_all(context: Context, planned: Execution, tasks: Sequence[dict[str, Any]], now: datetime) -> None:
    others = frozenset(context.staging - {planned.id})

    def insert(tx: Transaction) -> None:
        if (left := tx.executions.get(planned.id)) is not None and not left.visible:
            tx.executions.discard_staged(others)  # of a server that died: it does not keep the id taken
        tx.executions.insert(planned)

    encoded = [json.dumps(task, separators=(",", ":")) for task in tasks]
    await context.store.write(insert)
    for first in range(0, len(encoded), STAGE_TASKS):
        part = encoded[first : first + STAGE_TASKS]
        await context.store.write(partial(_stage, planned.id, first, part, now))


async def _publish(
    context: Context, principal: Principal, planned: Execution, intent: ExecutionIntent, digest: str
) -> Execution:
    """Make it visible. The same request may have been accepted while this one was being staged: then its execution is
    the answer."""
    job = planned.job

    def publish(tx: Transaction) -> Execution:
        _check_still_runnable(tx, planned)
        tx.executions.publish(planned.id, context.clock.now())
        return found(tx.executions.get(planned.id), principal, job, planned.id)

    try:
        return await context.store.write(publish)
    except Conflict:
        accepted = await context.store.read(lambda tx: _earlier(tx, principal, job, intent))
        if accepted is None or not accepted.visible or digest_of(context, accepted) != digest:
            raise
        return accepted


async def get_execution(
    context: Context, principal: Principal, job: str, execution_id: str, task_limit: int
) -> tuple[Execution, list[Task]]:
    """The execution and its first `task_limit` tasks."""
    require(principal, "jobs:get")

    def read(tx: Transaction) -> tuple[Execution, list[Task]]:
        execution = _visible(tx, principal, job, execution_id)
        return execution, tx.executions.tasks(execution.id, 0, task_limit)

    return await context.store.read(read)


async def list_executions(
    context: Context, principal: Principal, job: str, request: PageRequest, offset: int = 0
) -> tuple[list[Execution], str, int]:
    """A page: executions, cursor, total. An execution's name, which `sort` and `q` mean, is its id."""
    require(principal, "jobs:list")
    now = context.clock.now()
    query = ExecutionQuery(
        workspace=principal.workspace,
        job=job,
        limit=page_limit(request.limit, EXECUTION_PAGE_LIMIT, EXECUTION_PAGE_LIMIT_MAX),
        sort=request.checked_sort(),
        offset=offset,
        q=request.searched(),
    )
    print_ = fingerprint_of("executions", query.workspace, job, query.sort, query.q)
    query = replace(query, after=open_cursor(request.cursor, print_, now))

    def read(tx: Transaction) -> tuple[list[Execution], str, int]:
        page = tx.executions.page(query)
        if not page.total:
            fetch(tx, principal.workspace, Kind.JOB, job)  # history outlives its job; an unknown name is 404
        return page.items, make_cursor(page.next, print_, now), page.total

    return await context.store.read(read)


async def list_tasks(
    context: Context, principal: Principal, job: str, execution_id: str, request: PageRequest
) -> tuple[Execution, TaskPage]:
    """A page of tasks by their number. All of them are made at once, so an order by time is that order too; by name
    descending is the other way round."""
    require(principal, "jobs:get")
    now = context.clock.now()
    sort, q = request.checked_sort(), request.searched()
    print_ = fingerprint_of("tasks", principal.workspace, job, execution_id, sort, q)
    after = open_cursor(request.cursor, print_, now)
    query = TaskQuery(
        execution_id=ExecutionId(execution_id),
        limit=page_limit(request.limit, PAGE_LIMIT, PAGE_LIMIT_MAX),
        after=None if after is None else _index(after),
        descending=sort == "name:desc",
        q=q,
    )

    def read(tx: Transaction) -> tuple[Execution, TaskPage]:
        execution = _visible(tx, principal, job, execution_id)
        items, more = tx.executions.task_page(query)
        position = (str(items[-1].index), "") if more else None
        return execution, TaskPage(items=items, cursor=make_cursor(position, print_, now), total=execution.total)

    return await context.store.read(read)


async def cancel_execution(
    context: Context, principal: Principal, job: str, execution_id: str, stop_grace_s: int | None = None
) -> Execution:
    """Cancel: no task starts any more, running ones finish (public contract). With `stop_grace_s` they are stopped:
    SIGTERM, and SIGKILL so many seconds later; that may be asked for later, too, and the shortest grace counts. A
    finished execution stays as it is."""
    require(principal, "jobs:run", "jobs:create", "jobs:delete")
    now = context.clock.now()

    def write(tx: Transaction) -> Execution:
        execution = _visible(tx, principal, job, execution_id)
        if not execution.status.terminal:
            cancel_in(tx, execution, now)
            if stop_grace_s is not None:
                tx.executions.ask_stop(execution.id, stop_grace_s, now)
        return found(tx.executions.get(execution.id), principal, job, execution_id)

    execution = await context.store.write(write)
    context.signals.runner.wake()
    return execution


def cancel_in(tx: Transaction, execution: Execution, now: datetime) -> None:
    """Mark an execution as cancelling; the runner ends it once nothing of it runs."""
    tx.executions.set_status(execution.id, ExecutionStatus.CANCELLING, now)
    tx.executions.cancel_pending_tasks(execution.id, now)


async def read_task_arguments(context: Context, token: str) -> str:
    """The JSON of the one task whose attempt `token` names, as its program fetches it. Raises `Unauthenticated` for a
    foreign token, `NotFound` when the attempt has ended."""
    claims = context.keys.verify(token, TASK_AUDIENCE, context.clock.now())

    def read(tx: Transaction) -> str:
        attempt = tx.executions.attempt(UnitId(claims.sub))
        task = tx.executions.task(attempt.execution_id, attempt.index) if attempt else None
        if attempt is None or task is None or not attempt.state.open:
            raise NotFound("This attempt has ended.")
        return task.arguments

    return await context.store.read(read)


def _index(after: tuple[str, str]) -> int:
    """The task after which a page begins, from its cursor."""
    if not (after[0].isascii() and after[0].isdigit() and len(after[0]) < 12):
        raise Invalid("cursor", "is not a cursor of this list")
    return int(after[0])


def _stage(execution_id: ExecutionId, first: int, part: Sequence[str], now: datetime, tx: Transaction) -> None:
    tx.executions.add_tasks(execution_id, first, part, now)


def _plan(
    context: Context,
    tx: Transaction,
    principal: Principal,
    job: str,
    intent: ExecutionIntent,
    digest: str,
) -> Execution:
    """The execution to be stored, or the visible one that an earlier request of the same content made."""
    resource = fetch(tx, principal.workspace, Kind.JOB, job)
    earlier = _earlier(tx, principal, job, intent)
    if earlier is not None and earlier.visible:
        if digest_of(context, earlier) != digest:
            raise Conflict(f"Execution {earlier.id!r} exists with other content.", hint="Use another id.")
        return earlier
    if resource.deleting:
        raise Conflict(f"The job {job!r} is being deleted.")
    if resource.spec.get("enabled") is False:
        raise Denied(f"The job {job!r} is disabled.", hint="Set spec.enabled to true.")
    now = context.clock.now()
    ident = ExecutionId(intent.execution_id or new_id("exec"))
    serving = _serving(tx, resource, ident)
    judge(context, tx, principal.workspace, Kind.JOB, resource.spec, form_of(resource.spec, serving)).plan()
    revision = _required(resource, serving)
    settings = _settings(context, revision)
    if intent.memory is not None and not 1 <= intent.memory <= settings.memory_mb:
        raise Invalid("memory", f"must be 1 to {settings.memory_mb} MB, the job's memory", value=intent.memory)
    if not intent.allow_queue:
        _refuse_if_busy(tx)
    owner = Owner(principal.workspace, ident)
    return Execution(
        id=ident,
        workspace=principal.workspace,
        job=job,
        job_uid=resource.uid,
        revision_id=revision.id,
        request_id=intent.request_id or new_id("req", 16),
        request_digest=seal_digest(context, owner, digest) if intent.env else digest,
        visible=False,
        status=ExecutionStatus.PENDING,
        parallelism=settings.max_concurrent_tasks,
        timeout_s=settings.timeout_s,
        max_retries=settings.max_retries,
        memory_mb=intent.memory or settings.memory_mb,
        memory_override=intent.memory,
        env_override=seal_env(context.sealing, intent.env, owner),
        created_by=principal.sub,
        created_at=now,
        updated_at=now,
    )


def _earlier(tx: Transaction, principal: Principal, job: str, intent: ExecutionIntent) -> Execution | None:
    if intent.execution_id:
        execution = tx.executions.get(ExecutionId(intent.execution_id))
        if execution is not None and (execution.workspace, execution.job) != (principal.workspace, job):
            raise Conflict(f"The execution id {intent.execution_id!r} is taken.", hint="Use another id.")
        return execution
    if intent.request_id:
        return tx.executions.by_request(principal.workspace, job, intent.request_id)
    return None


def _serving(tx: Transaction, resource: Resource, ident: ExecutionId) -> Revision | None:
    """The revision that this execution runs, now and for ever: the canary's share of executions is drawn by their
    ids."""
    chosen = resource.traffic.served.choose(draw_of(ident))
    return None if chosen is None else tx.revisions.get(chosen)


def _required(resource: Resource, serving: Revision | None) -> Revision:
    if serving is not None:
        return serving
    status = resource.status.value if resource.status else "unknown"
    raise Conflict(
        f"The job {resource.name!r} has nothing to run yet (status {status}).",
        hint=f"Wait until it is DEPLOYED, or see why not: homeport logs job {resource.name} --build",
    )


def _check_still_runnable(tx: Transaction, planned: Execution) -> None:
    """Staging took a while: what the execution runs may have gone meanwhile. Once it is visible it keeps both."""
    job = tx.resources.by_uid(planned.job_uid)
    if job is None or job.deleting:
        raise Conflict(f"The job {planned.job!r} is being deleted.")
    if tx.revisions.get(planned.revision_id) is None:
        raise Conflict(f"The job {planned.job!r} was deployed several times meanwhile.", hint="Try again.")


def _settings(context: Context, revision: Revision) -> JobSettings:
    bundle = load_bundle(context.data.bundles, revision.bundle_digest or "")
    return JobSettings.from_spec(masked(revision.spec), bundle.manifest.runtime)


def _refuse_if_busy(tx: Transaction) -> None:
    """`allowQueue: false` means: start now or not at all. Anything that still waits goes first."""
    waiting = [execution for execution in tx.executions.unfinished() if execution.pending]
    if waiting:
        raise LimitExceeded(
            f"Maximum parallel executions limit reached: {len(waiting)} executions have tasks that wait.",
            hint="Try again later, or let it queue with allowQueue: true.",
        )


def _digest(intent: ExecutionIntent, tasks: Sequence[dict[str, Any]]) -> str:
    content = json.dumps([tasks, intent.env, intent.memory], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def _visible(tx: Transaction, principal: Principal, job: str, execution_id: str) -> Execution:
    return found(tx.executions.get(ExecutionId(execution_id)), principal, job, execution_id)


def found(execution: Execution | None, principal: Principal, job: str, execution_id: str) -> Execution:
    """The execution if it is visible and belongs to this job of this workspace, else `NotFound`."""
    mine = execution is not None and (execution.workspace, execution.job) == (principal.workspace, job)
    if execution is None or not mine or not execution.visible:
        raise NotFound(f"There is no execution {execution_id!r} of job {job!r} in workspace {principal.workspace!r}.")
    return replace(execution)
