"""Asynchronous calls of agents: the calls, what was said in them, their attempts, callbacks and schedules.

Follows 0009.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    _invocations()
    _parts()
    op.create_table(
        "schedules",
        _text("resource_uid"),
        _text("trigger"),
        _text("expression"),
        _number("checked_at"),
        _number("next_at"),
        sa.ForeignKeyConstraint(
            ["resource_uid"], ["resources.uid"], name="fk_schedules_resource_uid", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("resource_uid", "trigger", name="pk_schedules"),
    )
    op.create_index("ix_schedules_next_at", "schedules", ["next_at"])


def _invocations() -> None:
    op.create_table(
        "invocations",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        *(_text(name) for name in ("id", "workspace", "agent", "agent_uid", "trigger", "method", "path", "status")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("retries", "timeout_s", "attempts", "counted")),
        _number("not_before"),
        sa.Column("lease", sa.Text(), nullable=True),
        _text("message"),
        _number("created_at"),
        _number("updated_at"),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in _LATER),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("response_length", sa.BigInteger(), nullable=True),
        sa.Column("request_length", sa.Integer(), nullable=False),
        sa.Column("replay_of", sa.Text(), nullable=True),
        _text("callback_url"),
        sa.Column("callback_secret", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_invocations"),
        sa.UniqueConstraint("id", name="uq_invocations_id"),
    )
    op.create_index("ix_invocations_workspace_agent_number", "invocations", ["workspace", "agent", "number"])
    op.create_index("ix_invocations_workspace_number", "invocations", ["workspace", "number"])
    _partial("ix_invocations_queued", "invocations", ["agent_uid", "not_before", "number"], "status = 'queued'")
    _partial("ix_invocations_running", "invocations", ["agent_uid"], "status = 'running'")
    _partial("ix_invocations_ended", "invocations", ["completed_at"], "completed_at IS NOT NULL")


_LATER = ("started_at", "completed_at", "cancel_requested_at")


def _parts() -> None:
    op.create_table(
        "invocation_bodies",
        _number("invocation"),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        _of_invocation("invocation_bodies"),
        sa.PrimaryKeyConstraint("invocation", name="pk_invocation_bodies"),
    )
    op.create_table(
        "invocation_attempts",
        _number("invocation"),
        sa.Column("number", sa.Integer(), nullable=False),
        _text("end"),
        _number("started_at"),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        _text("reason"),
        _of_invocation("invocation_attempts"),
        sa.PrimaryKeyConstraint("invocation", "number", name="pk_invocation_attempts"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "invocation_callbacks",
        _number("invocation"),
        _text("status"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _number("not_before"),
        sa.Column("lease", sa.Text(), nullable=True),
        sa.Column("answer", sa.Integer(), nullable=True),
        _text("message"),
        _number("updated_at"),
        _of_invocation("invocation_callbacks"),
        sa.PrimaryKeyConstraint("invocation", name="pk_invocation_callbacks"),
    )
    _partial("ix_invocation_callbacks_open", "invocation_callbacks", ["not_before"], "status IN ('waiting', 'sending')")


def _of_invocation(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["invocation"], ["invocations.number"], name=f"fk_{table}_invocation", ondelete="CASCADE"
    )


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)
