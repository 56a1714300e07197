"""What must be true of a run that has come to rest: everything accepted has ended, everything deployed answers, nothing
is left of what was deleted. Each function tells what is missing, so that a run can be waited for with it."""

from collections.abc import Iterator

from homeport.core.ids import ExecutionId, UnitId
from homeport.core.units import UnitKind
from homeport.jobs.history import Violation
from homeport.runner.verification import examine_execution
from homeport.store.contract import Transaction
from homeport.testing.simulation.checks import Checks
from homeport.testing.simulation.scenario import GOOD, Scenario
from homeport.testing.simulation.users import Memory, attempts_of
from homeport.workloads.rollout import START_ATTEMPTS

_EXECUTION = """
SELECT status, total, succeeded, failed, cancelled FROM executions WHERE id = ? AND visible
"""
_UNENDED = (
    "SELECT id, status FROM executions WHERE visible AND status NOT IN ('succeeded','failed','timeout','cancelled')"
)
_OPEN_ATTEMPTS = """
SELECT id || '-' || "index" || '-' || attempts.number FROM attempts
JOIN executions ON executions.number = execution WHERE state <= 1
"""
_TASKS = """
SELECT id, "index", tasks.status, attempts FROM tasks JOIN executions ON executions.number = execution WHERE visible
"""
_ATTEMPT_STATES = """
SELECT attempts.number, state FROM attempts JOIN executions ON executions.number = execution
WHERE id = ? AND "index" = ? ORDER BY attempts.number
"""
_AGENT = (
    "SELECT uid, status, generation, observed_generation, deleting FROM resources WHERE kind = 'agent' AND name = ?"
)
_REPLICAS = """
SELECT replicas.id, replicas.state, unit, port, revisions.state FROM replicas
LEFT JOIN revisions ON revisions.id = revision_id WHERE replicas.resource_uid = ?
"""
_SUCCEEDED = 2  # the code of a task and of an attempt


def restless(checks: Checks, scenario: Scenario, told: Memory) -> Iterator[str]:
    """What has still to happen. A run that never comes to rest is told by this."""
    for (ident,) in checks.store.query("SELECT id FROM executions WHERE NOT visible"):
        yield f"execution {ident} was not accepted and is still there"
    for ident, status in checks.store.query(_UNENDED):
        yield f"execution {ident} is {status}"
    for (unit,) in checks.store.query(_OPEN_ATTEMPTS):
        yield f"attempt {unit} is open"
    units = {unit for (unit,) in checks.store.query("SELECT unit FROM replicas")}
    for spec in checks.node.alive:
        if spec.kind is UnitKind.TASK or spec.id not in units:
            yield f"{spec.kind} {spec.id} runs"
    for agent in scenario.agents:
        yield from _restless_agent(checks, told, agent.name)
    for job in told.deleted_jobs:
        if checks.store.query("SELECT 1 FROM resources WHERE kind = 'job' AND name = ?", job):
            yield f"job {job} is not gone"


def _restless_agent(checks: Checks, told: Memory, name: str) -> Iterator[str]:
    step, rows = told.agents.get(name), checks.store.query(_AGENT, name)
    if step is None or step.verb == "delete":
        if rows:
            yield f"agent {name} is {rows[0][1]} and should be gone"
        return
    if not rows:
        yield f"agent {name} is gone and was not deleted"
        return
    uid, status, generation, observed, _ = rows[0]
    wanted = "DEACTIVATED" if step.verb == "disable" else "DEPLOYED" if step.source in GOOD else "FAILED"
    if status == "FAILED" and wanted == "DEPLOYED" and _given_up(checks, uid):
        wanted = "FAILED"
    if (status, observed) != (wanted, generation):
        yield f"agent {name} is {status} ({observed} of {generation}) and should be {wanted}"
    replicas = checks.store.query(_REPLICAS, uid)
    for ident, state, unit, port, revision in replicas:
        if state != "ready" or revision != "serving" or not checks.node.lives(UnitId(unit)):
            yield f"replica {ident} of agent {name} is {state} (revision {revision})"
        elif not checks.node.listens(port):
            yield f"replica {ident} of agent {name} does not listen"
    if wanted == "DEPLOYED" and len(replicas) != max(1, step.scale):
        yield f"agent {name} has {len(replicas)} replicas of {max(1, step.scale)}"


def _given_up(checks: Checks, uid: str) -> bool:
    """Whether faults alone explain that the newest revision failed."""
    newest = "SELECT id FROM revisions WHERE resource_uid = ? ORDER BY generation DESC LIMIT 1"
    return any(checks.blows[revision] >= START_ATTEMPTS for (revision,) in checks.store.query(newest, uid))


def wrong(checks: Checks, told: Memory) -> Iterator[str]:
    """What is not as it must be, once all has come to rest."""
    for ident, tasks in told.executions.items():
        rows = checks.store.query(_EXECUTION, ident)
        if not rows:
            yield f"execution {ident} was accepted and is lost"
        elif rows[0][1] != tasks or sum(rows[0][2:]) != tasks:
            yield f"execution {ident} was accepted with {tasks} tasks and has {rows[0]}"
    for ident, attempts in told.attempts.items():
        if (now := attempts_of(checks.store, ident)) != attempts:
            yield f"execution {ident} had begun {attempts} attempts when it was cancelled, and has begun {now}"
    yield from _wrong_histories(checks)
    yield from _wrong_tasks(checks)
    yield from _left_behind(checks)


def _wrong_histories(checks: Checks) -> Iterator[str]:
    for (ident,) in checks.store.query("SELECT id FROM executions WHERE visible"):
        for found in checks.store.read_now(lambda tx, ident=ident: _examined(tx, ident)):  # type: ignore[misc]
            yield f"history of {ident}: {found.rule}: {found.message}"


def _examined(tx: Transaction, ident: str) -> list[Violation]:
    execution = tx.executions.get(ExecutionId(ident))
    return examine_execution(tx, execution).violations if execution else []


def _wrong_tasks(checks: Checks) -> Iterator[str]:
    """Rows against the node's own record."""
    for ident, index, status, attempts in checks.store.query(_TASKS):
        states = checks.store.query(_ATTEMPT_STATES, ident, index)
        if [number for number, _ in states] != list(range(1, attempts + 1)):
            yield f"task {index} of {ident} has {attempts} attempts and the rows {states}"
        won = [number for number, state in states if state == _SUCCEEDED]
        if (status == _SUCCEEDED) != bool(won) or won not in ([], [attempts]):
            yield f"task {index} of {ident} is {status} and its attempts are {states}"
        for number, state in states:
            seen = checks.units.get(UnitId(f"{ident}-{index}-{number}"))
            ran = seen is not None and seen.outcome is not None and seen.outcome.succeeded
            if ran != (state == _SUCCEEDED):
                yield f"attempt {ident}-{index}-{number} is recorded as {state}, and the node saw {seen}"


def _left_behind(checks: Checks) -> Iterator[str]:
    known = "SELECT uid FROM resources"
    for table, column in (("revisions", "resource_uid"), ("replicas", "resource_uid"), ("accounts", "owner_uid")):
        for (uid,) in checks.store.query(f"SELECT {column} FROM {table} WHERE {column} NOT IN ({known})"):
            yield f"a row of {table} is left of {uid}, which is gone"
