"""Whoever orders something: each repeats an order until it is answered, as clients do, and remembers the answer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from homeport.app.context import Context, Intent
from homeport.app.deployments import Deployment, create_workload, delete_workload, update_workload
from homeport.app.executions import ExecutionIntent, cancel_execution, create_execution
from homeport.app.policies import create_policy, update_policy
from homeport.core.errors import Conflict, Denied, NotFound, Rejected, Unavailable
from homeport.core.ids import Kind, UnitId
from homeport.store.contract import Transaction
from homeport.testing.loops import ADMIN, HOME
from homeport.testing.simulation.machine import Machine
from homeport.testing.simulation.scenario import AgentPlan, AgentStep, ExecutionPlan, FaultKind, JobPlan, Scenario
from homeport.testing.simulation.server import ServerGone
from homeport.testing.simulation.site import JOB_SOURCE
from homeport.testing.simulation.store import MemoryStore
from homeport.workloads.states import RevisionState

T = TypeVar("T")

TRIES = 300
LATE_S = 3.0  # between an end and its being known, at the most: the node tells some ends a second late
ASKED_S = 0.5  # between an answer and what it means for the node: the server acts at once
PLACE = "place"
# Faults that keep no server from asking a unit to end, nor from hearing that it did. A unit that is gone without a
# trace is missed half a minute later only.
_BESIDE = (
    FaultKind.UNIT_LOST,
    FaultKind.UNIT_KILLED,
    FaultKind.CLOCK_STEP,
    FaultKind.ENVOY_AWAY,
)
_WHERE = {True: "EU", False: "NA"}  # the continent that the policy allows; the machine's is the first


class Served(Protocol):
    """Where the server of the moment is asked."""

    async def call(self, work: Callable[[Context], Awaitable[T]]) -> T: ...

    def unasked(self, execution: str) -> list[UnitId]:
        """What runs of the execution and was not asked to end."""
        ...


@dataclass(slots=True, kw_only=True)
class Memory:
    """What users were told. `executions`: the tasks of each that was accepted; `attempts`: how many had been begun
    when its cancellation was answered. `agents`: the last step that was accepted of each; `deleted_jobs`: those whose
    deletion was."""

    executions: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    agents: dict[str, AgentStep] = field(default_factory=dict)
    deleted_jobs: set[str] = field(default_factory=set)
    allowed: bool | None = True
    turns: int = 0


class Users:
    """All of them. `run` ends when every order is answered."""

    def __init__(self, machine: Machine, scenario: Scenario, served: Served, store: MemoryStore) -> None:
        self.told = Memory()
        self._machine = machine
        self._scenario = scenario
        self._served = served
        self._store = store
        self._patience = machine.chance("patience")

    async def run(self) -> None:
        await self._order("make the policy", lambda context: create_policy(context, ADMIN, _policy(True)))
        plans = self._scenario
        await asyncio.gather(
            self._turn_policy(),
            *(self._run_job(job) for job in plans.jobs),
            *(self._run_agent(agent) for agent in plans.agents),
            *(self._execute(execution) for execution in plans.executions),
        )

    async def _turn_policy(self) -> None:
        allowed = True
        for at_s in self._scenario.policy_at_s:
            await _until(at_s)
            allowed = not allowed
            policy = _policy(allowed)
            self.told.turns, self.told.allowed = self.told.turns + 1, None
            await self._order(
                f"let the policy {'allow' if allowed else 'refuse'}",
                lambda context, policy=policy: update_policy(context, ADMIN, policy),  # type: ignore[misc]
            )
            self.told.turns, self.told.allowed = self.told.turns + 1, allowed

    async def _run_job(self, job: JobPlan) -> None:
        runtime: dict[str, Any] = {
            "maxConcurrentTasks": job.most_at_once,
            "maxRetries": job.max_retries,
            "timeout": job.timeout_s,
        }
        runtime |= {"ttl": f"{job.ttl_s}s"} if job.ttl_s else {}
        spec = {"runtime": runtime, "policies": [PLACE] if job.policed else []}
        made = await self._deploy(Kind.JOB, job.name, spec, JOB_SOURCE)
        if made is not None and job.ttl_s:
            self.told.deleted_jobs.add(job.name)
        if job.delete_at_s is not None:
            await _until(job.delete_at_s)
            if await self._order(f"delete {job.name}", lambda context: _delete(context, Kind.JOB, job.name)):
                self.told.deleted_jobs.add(job.name)

    async def _run_agent(self, agent: AgentPlan) -> None:
        for step in agent.steps:
            await _until(step.at_s)
            if step.verb == "delete":
                done: Any = await self._order(
                    f"delete {agent.name}", lambda context: _delete(context, Kind.AGENT, agent.name)
                )
            else:
                spec = {
                    "enabled": step.verb == "deploy",
                    "runtime": {"minScale": step.scale},
                    "policies": [PLACE] if agent.policed else [],
                }
                done = await self._deploy(Kind.AGENT, agent.name, spec, step.source)
            if done is not None:
                self.told.agents[agent.name] = step

    async def _deploy(self, kind: Kind, name: str, spec: dict[str, Any], source: str) -> Deployment | None:
        async def deploy(context: Context) -> Deployment:
            known = await context.store.read(lambda tx: tx.resources.get(HOME, kind, name))
            use_case = create_workload if known is None else update_workload
            return await use_case(context, ADMIN, kind, Intent(name=name, spec=spec), upload=True)

        made = await self._judged(
            f"deploy {name} ({source}{'' if spec.get('enabled', True) else ', disabled'})",
            deploy,
            policed=bool(spec["policies"]),
        )
        if made is not None:
            await self._order(f"upload {source} for {name}", lambda context: _upload(context, made, source))
        return made

    async def _execute(self, plan: ExecutionPlan) -> None:
        await _until(plan.at_s)
        intent = ExecutionIntent(tasks=[{"n": number} for number in range(plan.tasks)], execution_id=plan.id)
        policed = next(job.policed for job in self._scenario.jobs if job.name == plan.job)
        made = await self._judged(
            f"execute {plan.job} as {plan.id} ({plan.tasks} tasks)",
            lambda context: create_execution(context, ADMIN, plan.job, intent),
            policed=policed,
        )
        if made is None:
            return
        self.told.executions[plan.id] = plan.tasks
        if plan.cancel_at_s is not None:
            await _until(plan.cancel_at_s)
            cancel = await self._order(
                f"cancel {plan.id}{'' if plan.grace_s is None else f' now (grace {plan.grace_s} s)'}",
                lambda context: cancel_execution(context, ADMIN, plan.job, plan.id, plan.grace_s),
            )
            if cancel is not None:
                self.told.attempts[plan.id] = attempts_of(self._store, plan.id)
                await self._ends_within(plan)

    async def _ends_within(self, plan: ExecutionPlan) -> None:
        """Where nothing goes wrong, what was to be stopped at once is: it is asked to end, and ends."""
        if plan.grace_s is None or not all(fault.kind in _BESIDE for fault in self._scenario.faults):
            return
        await asyncio.sleep(ASKED_S)
        for unit in self._served.unasked(plan.id):
            self._machine.violated(f"{unit} was not asked to end {ASKED_S:g} s after it was to be stopped")
        await asyncio.sleep(plan.grace_s + LATE_S - ASKED_S)
        for execution, status in self._store.query("SELECT id, status FROM executions WHERE id = ?", plan.id):
            if status != "cancelled" and status not in ("succeeded", "failed", "timeout"):
                self._machine.violated(
                    f"{execution} is {status} {plan.grace_s + LATE_S:g} s after it was to be stopped"
                )

    async def _judged(self, what: str, work: Callable[[Context], Awaitable[T]], *, policed: bool) -> T | None:
        """An order on which the policy has a say. What it said is checked where it did not turn meanwhile."""
        turns, allowed = self.told.turns, self.told.allowed
        refused: list[Rejected] = []
        made = await self._order(what, work, refused)
        denied = bool(refused) and isinstance(refused[-1], Denied)
        if turns == self.told.turns and allowed is not None:
            if made is not None and policed and not allowed:
                self._machine.violated(f"{what}: accepted against the policy")
            if denied and (allowed or not policed):
                self._machine.violated(f"{what}: refused though the policy allows it")
        return made

    async def _order(
        self, what: str, work: Callable[[Context], Awaitable[T]], refused: list[Rejected] | None = None
    ) -> T | None:
        """The answer, or None where the order is refused for good."""
        said = ""
        for _ in range(TRIES):
            try:
                answer = await self._served.call(work)
                self._machine.note(f"user: {what}: done")
                return answer
            except (ServerGone, Unavailable) as error:
                why = f"no answer ({type(error).__name__})"
            except Conflict as error:  # it is on its way, or on its way out
                why = error.message
            except (Denied, NotFound) as error:
                why = error.message
                if refused is not None:
                    refused.append(error)
                if not (isinstance(error, NotFound) and self._early()):
                    self._machine.note(f"user: {what}: {why}")
                    return None
            if why != said:
                self._machine.note(f"user: {what}: {why}; asks again until it is otherwise")
                said = why
            await asyncio.sleep(0.5 + self._patience.random())
        self._machine.violated(f"{what}: never answered in {TRIES} tries")
        return None

    def _early(self) -> bool:
        """Whether what is not found may still come: all is deployed within the first seconds, if it can be."""
        return asyncio.get_running_loop().time() < 20.0


def attempts_of(store: MemoryStore, execution: str) -> int:
    """How many attempts of its tasks have ever been begun."""
    statement = (
        "SELECT coalesce(sum(attempts), 0) FROM tasks JOIN executions ON executions.number = tasks.execution "
        "WHERE executions.id = ?"
    )
    return int(store.query(statement, execution)[0][0])


async def _delete(context: Context, kind: Kind, name: str) -> bool:
    """Repeated by whoever got no answer: then it may be gone."""
    try:
        await delete_workload(context, ADMIN, kind, name)
    except NotFound:
        pass
    return True


async def _upload(context: Context, made: Deployment, source: str) -> bool:
    """As if the archive had come."""

    def write(tx: Transaction) -> None:
        for revision in tx.revisions.of(made.resource.uid):
            if revision.generation == made.resource.generation:
                building = replace(revision, state=RevisionState.BUILDING, source_digest=source)
                tx.revisions.replace_if_state(building, RevisionState.UPLOADING)

    await context.store.write(write)
    context.signals.builds.wake()
    return True


def _policy(allowed: bool) -> Intent:
    locations = [{"type": "continent", "name": _WHERE[allowed]}]
    return Intent(
        name=PLACE, spec={"type": "location", "resourceTypes": ["agent", "application"], "locations": locations}
    )


async def _until(at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - asyncio.get_running_loop().time()))
