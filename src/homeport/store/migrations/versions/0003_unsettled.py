"""Indexes that find the workloads of which something is under way.

Follows 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    unsettled = sa.text(
        "(deleting OR observed_generation <> generation OR status NOT IN ('DEPLOYED', 'FAILED', 'DEACTIVATED'))"
    )
    op.create_index(
        "ix_resources_unsettled",
        "resources",
        ["kind", "uid"],
        sqlite_where=unsettled,
        postgresql_where=unsettled,
    )
    op.create_index("ix_revisions_kind_state_resource_uid", "revisions", ["kind", "state", "resource_uid"])
