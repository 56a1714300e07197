"""Hold the history of a stored execution against what is stored of it. Called by the use case, and by tests at the end
of whatever they did to a runner."""

from collections.abc import Callable

from homeport.core.ids import ExecutionId
from homeport.jobs.entries import Stored
from homeport.jobs.history import Replay, Report, examine
from homeport.runner.outcomes import counts_of
from homeport.store.contract import Store, Transaction
from homeport.store.records import Execution

# Entries a read. A read that goes on keeps the database from reusing its log, which grows with what others write.
ENTRIES_A_READ = 20_000
_ALL = 2**53  # no history is that long


def examine_execution(tx: Transaction, execution: Execution) -> Report:
    """What its history says; in any state, since both are read in one snapshot."""
    return examine(tx.executions.entries(execution.id, 0, _ALL), _stored(tx, execution))


async def examine_in_parts(store: Store, find: Callable[[Transaction], Execution]) -> tuple[Execution, Report]:
    """As `examine_execution`, in many short reads: entries are only ever added, so that the last one, which compares,
    need not read the first ones again. About 20 s for a million tasks. Raises what `find` does."""
    execution = await store.read(find)
    replay = Replay(execution.parallelism, execution.max_retries)

    def go_on(tx: Transaction) -> Execution | None:
        present = find(tx)
        if not _feed(tx, present.id, replay):
            return None
        replay.compare(_stored(tx, present))
        return present

    while (found := await store.read(go_on)) is None:
        pass
    return found, replay.report


def _feed(tx: Transaction, execution_id: ExecutionId, replay: Replay) -> bool:
    """Replay the next entries; True once there are no more."""
    count = 0
    for entry in tx.executions.entries(execution_id, replay.report.entries, ENTRIES_A_READ):
        replay.feed(entry)
        count += 1
    return count < ENTRIES_A_READ


def _stored(tx: Transaction, execution: Execution) -> Stored:
    return Stored(
        status=execution.status,
        parallelism=execution.parallelism,
        max_retries=execution.max_retries,
        total=execution.total,
        counts=counts_of(execution),
        lost=execution.lost,
        tasks=tx.executions.stored_tasks(execution.id),
    )
