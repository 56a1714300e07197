"""What `homeport status` shows: is it ready, what runs, how it is isolated, what an operator should know."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from homeport.app.condition import read_condition
from homeport.app.context import Context
from homeport.app.machines import one_machine, told
from homeport.app.placed import ask_drivers, engines_of
from homeport.core.errors import DriverUnavailable, HomeportError
from homeport.core.ids import WORKLOADS, Kind
from homeport.core.open_files import connections, hard_limit, is_low
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import Execution, Replica, Resource
from homeport.workloads.states import RevisionState

_NOTE_LOOPBACK = (
    "Workloads share the machine's loopback interface: a program can connect to other programs' ports there. "
    "Run only programs that you would run side by side on one machine."
)

_NOTE_NO_SANDBOX = (
    "Programs run WITHOUT a sandbox (--insecure-no-sandbox): they can read and change what the user they run as can. "
    "`homeport doctor` says what this machine lacks."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`replicas` with their workloads; `sandbox` holds the driver's own facts; `notes` are sentences for the
    operator."""

    agents: int
    functions: int
    jobs: int
    replicas: list[tuple[Resource, Replica]]
    executions: list[Execution]
    sandbox: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is under way in the whole installation: agents and functions with their replicas, tasks of executions that
    run, tasks that wait for their turn, builds, asynchronous calls that have not ended."""

    agents: int
    functions: int
    replicas: int
    tasks: int
    executions: int
    waiting_tasks: int
    builds: int
    calls: int


async def read_work(context: Context) -> Work:
    """What a stop of the system would interrupt."""

    def read(tx: Transaction) -> Work:
        replicas = [replica for replica in tx.replicas.every() if replica.state.runs]
        owners = (tx.resources.by_uid(uid) for uid in {one.resource_uid for one in replicas})
        serving = Counter(owner.kind for owner in owners if owner)
        executions = tx.executions.unfinished()
        waiting = (one.pending for one in executions if one.cancel_requested_at is None)
        return Work(
            agents=serving[Kind.AGENT],
            functions=serving[Kind.FUNCTION],
            replicas=len(replicas),
            tasks=sum(one.running for one in executions),
            executions=sum(one.running > 0 for one in executions),
            waiting_tasks=sum(waiting),
            builds=len(tx.revisions.in_states([RevisionState.BUILDING])),
            calls=sum(tx.invocations.count_open()),
        )

    return await context.store.read(read)


async def read_status(context: Context, principal: Principal) -> Status:
    """Resources and work of the caller's workspace; facts of the whole installation."""
    for kind in WORKLOADS:
        require(principal, f"{kind.plural}:list")

    def read(tx: Transaction) -> Status:
        mine = principal.workspace
        running = ((tx.resources.by_uid(replica.resource_uid), replica) for replica in tx.replicas.every())
        return Status(
            agents=tx.resources.count(mine, Kind.AGENT),
            functions=tx.resources.count(mine, Kind.FUNCTION),
            jobs=tx.resources.count(mine, Kind.JOB),
            replicas=[(found, replica) for found, replica in running if found and found.workspace == mine],
            executions=[item for item in tx.executions.unfinished() if item.workspace == mine],
        )

    status = await context.store.read(read)
    condition = await read_condition(context)
    status.notes.extend((*condition.missing, *condition.limits, _NOTE_LOOPBACK))
    if context.signals.paused:
        status.notes.insert(0, "Homeport is about to stop: what runs may end, nothing new starts.")
    if is_low(limit := hard_limit()):
        status.notes.append(
            f"This machine lets a process open {limit} files: the gateway serves about {connections(limit)} "
            "connections at once. Raise the hard limit (nofile) to serve more."
        )
    engines = engines_of(context)
    known: dict[str, dict[str, Any]] = {}
    for name, facts in (await ask_drivers(context)).items():
        if isinstance(facts, DriverUnavailable):
            status.notes.append(f"Driver {name} does not answer: {facts.message}")
            continue
        if isinstance(facts, HomeportError):
            raise facts
        known[name] = facts
        if name in engines:
            status.notes.append(_engine_note(name, facts))
            if trouble := facts.get("gateway"):
                status.notes.append(f"Driver {name}: programs do not reach the gateway: {trouble}.")
            continue
        status.sandbox.update(facts)
        if facts.get("sandbox") == "none":
            status.notes.insert(0, _NOTE_NO_SANDBOX)
    status.notes.extend(f"Regions {told(names)}" for names in one_machine(context.regions, known))
    return status


def _engine_note(driver: str, facts: dict[str, Any]) -> str:
    """How the containers of a region are contained."""
    users = "their users are mapped to others of the host" if facts["user_namespace"] else "their users are the host's"
    published = ""
    if address := facts.get("programs_at"):
        published = f", ports published at {address} (whoever reaches it needs no key, containers there included)"
    return (
        f"Driver {driver}: {facts['sandbox']} at {facts['engine']}, runtime {facts['runtime']}, as {facts['runs_as']}; "
        f"{users}; a network for each workspace{published}; what they write is {facts['disk_limit']}."
    )
