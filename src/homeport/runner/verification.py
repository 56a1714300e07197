"""Hold the history of a stored execution against what is stored of it. Called by the use case, and by tests at the end
of whatever they did to a runner."""

import sys
from collections.abc import Iterator

from homeport.core.ids import ExecutionId
from homeport.jobs.entries import Entry, Stored
from homeport.jobs.history import Report, examine
from homeport.runner.outcomes import counts_of
from homeport.store.contract import Transaction
from homeport.store.records import Execution


def examine_execution(tx: Transaction, execution: Execution) -> Report:
    """What its history says; in any state, since both are read in one snapshot. Takes some seconds for a million
    tasks."""
    stored = Stored(
        status=execution.status,
        parallelism=execution.parallelism,
        max_retries=execution.max_retries,
        total=execution.total,
        counts=counts_of(execution),
        lost=execution.lost,
        tasks=tx.executions.stored_tasks(execution.id),
    )
    return examine(_entries(tx, execution.id), stored)


def _entries(tx: Transaction, execution_id: ExecutionId) -> Iterator[Entry]:
    return tx.executions.entries(execution_id, 0, sys.maxsize)
