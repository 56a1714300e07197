"""The history of an execution: read, and held against what is stored. An execution is named by its id alone, which is
given once in the whole installation."""

from dataclasses import dataclass

from homeport.app.context import Context
from homeport.core.errors import NotFound
from homeport.core.ids import ExecutionId
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.jobs.entries import Entry
from homeport.jobs.history import Report
from homeport.runner.verification import examine_in_parts
from homeport.store.contract import Transaction
from homeport.store.records import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """An execution as it stood, and what its history says of it."""

    execution: Execution
    report: Report


async def verify_execution(context: Context, principal: Principal, execution_id: str) -> Verification:
    """Replay the execution's history; it may still run. Raises `NotFound`."""
    require(principal, "jobs:get")

    # One at a time: of a million tasks it takes a while, and the threads that read are few.
    async with context.verifying:
        execution, report = await examine_in_parts(context.store, lambda tx: _mine(tx, principal, execution_id))
    return Verification(execution=execution, report=report)


async def read_history(
    context: Context, principal: Principal, execution_id: str, after: int, limit: int
) -> tuple[list[Entry], int | None]:
    """At most `limit` entries after number `after`, and the number to go on after, None at the end for now."""
    require(principal, "jobs:get")

    def read(tx: Transaction) -> list[Entry]:
        return [*tx.executions.entries(_mine(tx, principal, execution_id).id, after, limit + 1)]

    found = await context.store.read(read)
    return found[:limit], found[limit - 1].seq if len(found) > limit else None


def _mine(tx: Transaction, principal: Principal, execution_id: str) -> Execution:
    execution = tx.executions.get(ExecutionId(execution_id))
    if execution is None or execution.workspace != principal.workspace or not execution.visible:
        raise NotFound(f"There is no execution {execution_id!r} in workspace {principal.workspace!r}.")
    return execution
