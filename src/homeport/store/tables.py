"""The tables of the store, for the statements in this package and for the migrations' self-check.

Moments are whole microseconds since 1970 in UTC, so they sort as numbers. Objects are JSON text. States are text where
people may look at them, and small numbers on tasks and attempts, of which there are millions. Both SQLite and
PostgreSQL understand everything here; what only tunes SQLite is marked `sqlite_…` and ignored elsewhere.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    bindparam,
    literal_column,
    select,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only when the key's type is exactly INTEGER.
_Counter = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _moment(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _of_resource() -> Column[str]:
    return Column("resource_uid", Text, ForeignKey("resources.uid", ondelete="CASCADE"), nullable=False)


def _index_of_some(name: str, rows: ColumnElement[bool] | TextClause, *columns: Column[Any]) -> None:
    """Over these rows of a table only, in either database."""
    Index(name, *columns, sqlite_where=rows, postgresql_where=rows)


notes = Table("notes", metadata, Column("key", Text, primary_key=True), _text("value"))

workspaces = Table(
    "workspaces",
    metadata,
    Column("name", Text, primary_key=True),
    _text("display_name"),
    _moment("created_at"),
    _text("created_by"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("client_id", Text, primary_key=True),
    _text("workspace"),
    _text("name"),
    _text("description"),
    _text("role"),
    Column("owner_uid", Text, unique=True),
    _moment("created_at"),
    _moment("updated_at"),
    Index(None, "workspace", "created_at"),
)

# No foreign key to the account: a key outlives it, revoked, until it expires.
keys = Table(
    "keys",
    metadata,
    Column("jti", Text, primary_key=True),
    _text("client_id"),
    _text("workspace"),
    _text("name"),
    _moment("created_at"),
    _text("created_by"),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Index(None, "client_id", "created_at"),
    Index(None, "revoked_at"),
)

resources = Table(
    "resources",
    metadata,
    Column("uid", Text, primary_key=True),
    _text("workspace"),
    _text("kind"),
    _text("name"),
    Column("display_name", Text),
    Column("external_id", Text),
    _text("labels"),
    _text("spec"),
    _text("search"),  # what `q` looks through, in lower case; derived from name, display name and labels
    _count("generation"),
    _count("observed_generation"),
    Column("status", Text),
    _moment("created_at"),
    _text("created_by"),
    _moment("updated_at"),
    _text("updated_by"),
    Column("deleting", Boolean, nullable=False),
    Column("image", Text),
    Column("traffic", Text, nullable=False, server_default="{}"),
    UniqueConstraint("workspace", "kind", "name"),  # also the order by name
    Index(None, "workspace", "kind", "created_at", "uid"),
    Index(None, "kind", "created_at"),
)
# Few of many, in the words of both databases: an index over a part of a table needs the very words of the statement.
unsettled_resources = text(
    "(deleting OR observed_generation <> generation OR status NOT IN ('DEPLOYED', 'FAILED', 'DEACTIVATED'))"
)
_index_of_some("ix_resources_unsettled", unsettled_resources, resources.c.kind, resources.c.uid)

# Derived from `spec.policies` at every write: the same question on both databases, answered by an index.
resource_policies = Table(
    "resource_policies",
    metadata,
    _of_resource(),
    _text("workspace"),
    _text("policy"),
    PrimaryKeyConstraint("resource_uid", "policy"),
    Index(None, "workspace", "policy"),
)

# `region`: where its content is, by its real name. `attached_to`: the workload that may mount it, if any.
volumes = Table(
    "volumes",
    metadata,
    Column("resource_uid", Text, ForeignKey("resources.uid", ondelete="CASCADE"), primary_key=True),
    _text("region"),
    Column("attached_to", Text, ForeignKey("resources.uid", ondelete="SET NULL")),
    Index(None, "attached_to"),
)

# Policies that are gone, for the words of a refusal.
tombstones = Table(
    "tombstones",
    metadata,
    _text("workspace"),
    _text("name"),
    _moment("deleted_at"),
    _text("deleted_by"),
    PrimaryKeyConstraint("workspace", "name"),
)

# A deleted one keeps its row without a token, so that whoever misses it can be told who deleted it.
stored_secrets = Table(
    "stored_secrets",
    metadata,
    _text("workspace"),
    _text("name"),
    Column("token", Text),
    _moment("created_at"),
    _text("created_by"),
    _moment("updated_at"),
    _text("updated_by"),
    PrimaryKeyConstraint("workspace", "name"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("id", Text, primary_key=True),
    _of_resource(),
    _text("workspace"),
    _text("kind"),
    _text("name"),
    _count("generation"),
    _text("state"),
    _text("spec"),
    _text("region"),
    _text("flavor"),
    Column("source_digest", Text),
    Column("bundle_digest", Text),
    _text("entrypoint"),
    _text("message"),
    _moment("created_at"),
    _text("created_by"),
    _moment("updated_at"),
    Column("source_commit", Text),
    Column("source_logins", Text),
    Index(None, "resource_uid", "generation"),
    Index(None, "state", "created_at"),
    Index(None, "kind", "state", "resource_uid"),
    Index(None, "workspace", "bundle_digest"),
)

# What an image (a resource of that kind) holds under its tags: bundles.
image_tags = Table(
    "image_tags",
    metadata,
    _of_resource(),
    _text("name"),
    _text("digest"),
    _text("region"),
    _text("source"),
    _text("entrypoint"),
    Column("size", BigInteger, nullable=False),
    _moment("created_at"),
    _moment("updated_at"),
    Column("deployed_at", BigInteger),
    PrimaryKeyConstraint("resource_uid", "name"),
    Index(None, "digest"),
)

# Images that engines have because of us. No foreign key: they outlive what they were brought for.
brought_images = Table(
    "brought_images",
    metadata,
    _text("region"),
    _text("digest"),
    _text("reference"),
    _moment("created_at"),
    PrimaryKeyConstraint("region", "digest"),
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", Text, primary_key=True),
    _text("revision_id"),
    _of_resource(),
    _count("ordinal"),
    _text("state"),
    Column("unit", Text, nullable=False, unique=True),
    _count("port"),
    _count("restarts"),
    _text("message"),
    _moment("created_at"),
    Column("ready_at", BigInteger),
    _moment("changed_at"),
    Column("address", Text, nullable=False, server_default=""),
    Index(None, "resource_uid"),
    Index(None, "state", "resource_uid"),
)

events = Table(
    "events",
    metadata,
    Column("sequence", _Counter, primary_key=True),
    _of_resource(),
    _moment("time"),
    _text("type"),
    _text("status"),
    _text("message"),
    _text("revision"),
    _text("reason"),
    Column("canary_revision", Text, nullable=False, server_default=""),
    Index(None, "resource_uid", "sequence"),
    sqlite_autoincrement=True,  # else a removed event's number would be used again
)

# No foreign key to the job: executions outlive it. `number` stands for the id in tasks and attempts.
executions = Table(
    "executions",
    metadata,
    Column("number", _Counter, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    _text("workspace"),
    _text("job"),
    _text("job_uid"),
    _text("revision_id"),
    _text("request_id"),
    _text("request_digest"),
    Column("visible", Boolean, nullable=False),
    _text("status"),
    _count("parallelism"),
    _count("timeout_s"),
    _count("max_retries"),
    _count("memory_mb"),
    Column("memory_override", Integer),
    _text("env_override"),
    _text("created_by"),
    _moment("created_at"),
    _moment("updated_at"),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("cancel_requested_at", BigInteger),
    _count("total"),
    _count("pending"),
    _count("running"),
    _count("succeeded"),
    _count("failed"),
    _count("cancelled"),
    _count("retried"),
    _count("timed_out"),
    Column("stop_grace_s", Integer),  # set: what runs of it shall be stopped
    Column("lost", Integer, nullable=False, server_default=text("0")),
    Index(None, "workspace", "job", "created_at", "id"),
    Index(None, "status", "created_at"),
)
# Only visible ones: staging that a dead server left behind never stands in the way of the caller's second try.
Index(
    "uq_executions_request",
    executions.c.workspace,
    executions.c.job,
    executions.c.request_id,
    unique=True,
    sqlite_where=text("visible = 1"),  # each as the statements say it there
    postgresql_where=text("visible"),
)


def _of_execution() -> Column[int]:
    return Column("execution", BigInteger, ForeignKey("executions.number", ondelete="CASCADE"), nullable=False)


tasks = Table(
    "tasks",
    metadata,
    _of_execution(),
    _count("index"),
    _text("arguments"),
    Column("status", SmallInteger, nullable=False),
    _count("attempts"),
    _moment("not_before"),  # 0: may start at once
    Column("lease", Text),
    Column("lease_until", BigInteger),
    _moment("created_at"),
    Column("scheduled_at", BigInteger),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    _moment("updated_at"),
    _text("message"),
    PrimaryKeyConstraint("execution", "index"),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    _of_execution(),
    _count("index"),
    _count("number"),
    Column("state", SmallInteger, nullable=False),
    _moment("created_at"),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("outcome", Text),
    PrimaryKeyConstraint("execution", "index", "number"),
    sqlite_with_rowid=False,
)

# What happened to executions (`homeport.jobs.entries`). Only ever added to; it goes with its execution.
# `code`, `amount` and `then` mean what the kind says; `homeport.store.history` writes and reads them.
history = Table(
    "history",
    metadata,
    _of_execution(),
    _count("seq"),
    _moment("at"),
    Column("kind", SmallInteger, nullable=False),
    Column("index", Integer),
    Column("number", Integer),
    Column("state", SmallInteger),
    Column("then", SmallInteger),
    Column("code", Integer),
    Column("amount", BigInteger),
    PrimaryKeyConstraint("execution", "seq"),
    sqlite_with_rowid=False,
)

# Asynchronous calls of agents. No foreign key to the agent: what was accepted outlives it. `number` is the order of
# acceptance; `not_before` orders the queue, so that it begins as the moment of acceptance.
invocations = Table(
    "invocations",
    metadata,
    Column("number", _Counter, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    _text("workspace"),
    _text("agent"),
    _text("agent_uid"),
    _text("trigger"),
    _text("method"),
    _text("path"),
    _text("status"),
    _count("retries"),
    _count("timeout_s"),
    _count("attempts"),
    _count("counted"),
    _moment("not_before"),
    Column("lease", Text),
    _text("message"),
    _moment("created_at"),
    _moment("updated_at"),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("cancel_requested_at", BigInteger),
    Column("response_status", Integer),
    Column("response_length", BigInteger),
    _count("request_length"),
    Column("replay_of", Text),
    _text("callback_url"),
    Column("callback_secret", Text),
    Index(None, "workspace", "agent", "number"),
    Index(None, "workspace", "number"),
)
# Few of many, as above.
queued_invocations = text("status = 'queued'")
running_invocations = text("status = 'running'")
ended_invocations = text("completed_at IS NOT NULL")
_index_of_some(
    "ix_invocations_queued",
    queued_invocations,
    invocations.c.agent_uid,
    invocations.c.not_before,
    invocations.c.number,
)
_index_of_some("ix_invocations_running", running_invocations, invocations.c.agent_uid)
_index_of_some("ix_invocations_ended", ended_invocations, invocations.c.completed_at)


def _of_invocation() -> Column[int]:
    return Column("invocation", BigInteger, ForeignKey("invocations.number", ondelete="CASCADE"), nullable=False)


# What callers and programs said, sealed; apart, so that lists do not read it.
invocation_bodies = Table(
    "invocation_bodies",
    metadata,
    _of_invocation(),
    Column("request", LargeBinary, nullable=False),
    Column("response", LargeBinary),
    PrimaryKeyConstraint("invocation"),
)

invocation_attempts = Table(
    "invocation_attempts",
    metadata,
    _of_invocation(),
    _count("number"),
    _text("end"),
    _moment("started_at"),
    Column("ended_at", BigInteger),
    Column("status", Integer),
    _text("reason"),
    PrimaryKeyConstraint("invocation", "number"),
    sqlite_with_rowid=False,
)

# Results on their way to callback URLs.
invocation_callbacks = Table(
    "invocation_callbacks",
    metadata,
    _of_invocation(),
    _text("status"),
    _count("attempts"),
    _moment("not_before"),
    Column("lease", Text),
    Column("answer", Integer),
    _text("message"),
    _moment("updated_at"),
    PrimaryKeyConstraint("invocation"),
)
open_callbacks = text("status IN ('waiting', 'sending')")
_index_of_some("ix_invocation_callbacks_open", open_callbacks, invocation_callbacks.c.not_before)

# When agents call themselves. Derived from `spec.triggers` at every write; `checked_at`: all before it is decided.
schedules = Table(
    "schedules",
    metadata,
    _of_resource(),
    _text("trigger"),
    _text("expression"),
    _moment("checked_at"),
    _moment("next_at"),
    PrimaryKeyConstraint("resource_uid", "trigger"),
    Index(None, "next_at"),
)

# Of the execution whose id the parameter `execution_id` is; rows of tasks, attempts and history name it by its number.
number_of_execution = select(executions.c.number).where(executions.c.id == bindparam("execution_id")).scalar_subquery()
# The codes of `homeport.store.tasks`, written out because an index over a part of a table needs a constant; the
# statements use these same two expressions, or neither database would use the index.
pending_tasks = tasks.c.status == literal_column("0")
open_attempts = attempts.c.state <= literal_column("1")
_index_of_some("ix_tasks_pending", pending_tasks, tasks.c.execution, tasks.c.not_before, tasks.c.index)
_index_of_some("ix_attempts_open", open_attempts, attempts.c.execution, attempts.c.index)
