"""Numbers of events that are never used again, so that whoever follows them misses none when the newest are removed.

Follows 0012.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.drop_index("ix_events_resource_uid_sequence", "events")
    op.rename_table("events", "events_before")
    op.create_table(
        "events",
        sa.Column("sequence", _COUNTER, nullable=False),
        sa.Column("resource_uid", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("canary_revision", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("sequence", name="pk_events"),
        sa.ForeignKeyConstraint(["resource_uid"], ["resources.uid"], name="fk_events_resource_uid", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    names = "sequence, resource_uid, time, type, status, message, revision, reason, canary_revision"
    op.execute(f"INSERT INTO events ({names}) SELECT {names} FROM events_before")
    op.drop_table("events_before")
    op.create_index("ix_events_resource_uid_sequence", "events", ["resource_uid", "sequence"])
