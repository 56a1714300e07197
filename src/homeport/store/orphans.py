"""Rows that nobody owns: what refers to something that is gone, or should have ended with something that has ended.

One statement for each way in which that could come about; in a sound store all of them find nothing. Read by
`homeport.leaks`; nothing here changes a row. Rows that a loop removes after a time have a bound, above that loop's own.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from homeport.jobs.states import ExecutionStatus, TaskStatus
from homeport.store.history import TASK_CODES
from homeport.store.records import Orphan
from homeport.store.rows import micros, moment

SHOWN = 100  # rows of one kind; more say nothing new
# The garbage loop discards at each pass what nobody stages any more; staging a million tasks takes less than this.
STAGED_S = 20 * 60
DESERTED_S = 120  # the loop of invocations cancels them within some seconds
PRUNED_S = 25 * 3600  # that loop prunes revoked keys a day after they expire
RUNNING, PENDING = TASK_CODES[TaskStatus.RUNNING], TASK_CODES[TaskStatus.PENDING]
_ENDED = ", ".join(f"'{status.value}'" for status in ExecutionStatus if status.terminal)


# Each selects a name and a moment. Only executions that have not ended, and open attempts, are looked through: the
# history may be long.
_STATEMENTS = (
    (
        "replicas",
        "its revision is gone",
        "SELECT id, changed_at FROM replicas WHERE revision_id NOT IN (SELECT id FROM revisions)",
    ),
    (
        "accounts",
        "its workload is gone",
        "SELECT client_id, updated_at FROM accounts WHERE owner_uid IS NOT NULL "
        "AND owner_uid NOT IN (SELECT uid FROM resources)",
    ),
    (
        "keys",
        "it is not revoked, and its account is gone",
        "SELECT jti, created_at FROM keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now) "
        "AND client_id NOT IN (SELECT client_id FROM accounts)",
    ),
    (
        "keys",
        "it is revoked and has expired",
        "SELECT jti, expires_at FROM keys WHERE revoked_at IS NOT NULL AND expires_at < :pruned",
    ),
    (
        "tombstones",
        "the policy exists",
        "SELECT t.name, t.deleted_at FROM tombstones t JOIN resources r "
        "ON r.workspace = t.workspace AND r.name = t.name AND r.kind = 'policy'",
    ),
    (
        "executions",
        "it was staged and never published",
        "SELECT id, created_at FROM executions WHERE NOT visible AND created_at < :staged",
    ),
    (
        "executions",
        "its job is gone and it does not end",
        f"SELECT id, updated_at FROM executions WHERE visible AND status NOT IN ({_ENDED}) "
        "AND job_uid NOT IN (SELECT uid FROM resources)",
    ),
    (
        "executions",
        "its counts are not those of its tasks",
        f"SELECT e.id, e.updated_at FROM executions e WHERE e.visible AND e.status NOT IN ({_ENDED}) AND ("
        f"e.running <> (SELECT count(*) FROM tasks t WHERE t.execution = e.number AND t.status = {RUNNING}) OR "
        f"e.pending <> (SELECT count(*) FROM tasks t WHERE t.execution = e.number AND t.status = {PENDING}))",
    ),
    (
        "attempts",
        "it is open, and its task does not run it",
        "SELECT e.id || '-' || a.\"index\" || '-' || a.number, a.created_at FROM attempts a "
        "JOIN executions e ON e.number = a.execution "
        'JOIN tasks t ON t.execution = a.execution AND t."index" = a."index" '
        f"WHERE a.state <= 1 AND (t.status <> {RUNNING} OR t.attempts <> a.number)",
    ),
    (
        "tasks",
        "it runs, and none of its attempts is open",
        "SELECT e.id || '-' || t.\"index\", t.updated_at FROM executions e JOIN tasks t ON t.execution = e.number "
        f"WHERE e.running > 0 AND e.status NOT IN ({_ENDED}) AND t.status = {RUNNING} AND NOT EXISTS (SELECT 1 "
        'FROM attempts a WHERE a.execution = t.execution AND a."index" = t."index" AND a.state <= 1)',
    ),
    (
        "executions",
        "it has ended, and tasks of it have not",
        f"SELECT id, updated_at FROM executions WHERE status IN ({_ENDED}) AND (pending > 0 OR running > 0)",
    ),
    (
        "invocations",
        "its agent is gone and it does not end",
        "SELECT id, updated_at FROM invocations WHERE status = 'queued' AND updated_at < :deserted "
        "AND agent_uid NOT IN (SELECT uid FROM resources)",
    ),
    (
        "invocations",
        "it runs, and none of its attempts does",
        "SELECT id, updated_at FROM invocations WHERE status = 'running' AND NOT EXISTS (SELECT 1 "
        "FROM invocation_attempts a WHERE a.invocation = invocations.number AND a.number = attempts "
        "AND a.\"end\" = 'running')",
    ),
)


def orphans(connection: Connection, now: datetime) -> list[Orphan]:
    """At most `SHOWN` rows of each kind."""
    moments = {
        "now": micros(now),
        "deserted": micros(now - timedelta(seconds=DESERTED_S)),
        "pruned": micros(now - timedelta(seconds=PRUNED_S)),
        "staged": micros(now - timedelta(seconds=STAGED_S)),
    }
    found = []
    for table, why, words in _STATEMENTS:
        used = {name: value for name, value in moments.items() if f":{name}" in words}
        for name, since in connection.execute(text(f"{words} LIMIT {SHOWN}"), used):
            found.append(Orphan(table=table, name=name, why=why, since=moment(since)))
    return found
