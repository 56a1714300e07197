"""What `homeport status` shows: is it ready, what runs, how it is isolated, what an operator should know."""

from dataclasses import dataclass, field
from typing import Any

from homeport.app.context import Context
from homeport.core.errors import DriverUnavailable
from homeport.core.ids import Kind
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.store.records import Execution, Replica, Resource

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
    """`replicas` with their agents; `sandbox` holds the driver's own facts; `notes` are sentences for the operator."""

    agents: int
    jobs: int
    replicas: list[tuple[Resource, Replica]]
    executions: list[Execution]
    sandbox: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


async def read_status(context: Context, principal: Principal) -> Status:
    """Resources and work of the caller's workspace; facts of the whole installation."""
    for kind in (Kind.AGENT, Kind.JOB):
        require(principal, f"{kind.plural}:list")

    def read(tx: Transaction) -> Status:
        mine = principal.workspace
        running = ((tx.resources.by_uid(replica.resource_uid), replica) for replica in tx.replicas.every())
        return Status(
            agents=tx.resources.count(mine, Kind.AGENT),
            jobs=tx.resources.count(mine, Kind.JOB),
            replicas=[(agent, replica) for agent, replica in running if agent and agent.workspace == mine],
            executions=[item for item in tx.executions.unfinished() if item.workspace == mine],
        )

    status = await context.store.read(read)
    status.notes.append(_NOTE_LOOPBACK)
    for driver in context.drivers.values():
        try:
            facts = await driver.info()
        except DriverUnavailable as error:
            status.notes.append(f"Driver {driver.name} does not answer: {error.message}")
            continue
        status.sandbox.update(facts)
        if facts.get("sandbox") == "none":
            status.notes.insert(0, _NOTE_NO_SANDBOX)
    return status
