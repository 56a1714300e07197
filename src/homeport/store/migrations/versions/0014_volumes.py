"""Volumes: where the content of each is, and which workload it is attached to.

Follows 0013.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "volumes",
        sa.Column("resource_uid", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("attached_to", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["resource_uid"], ["resources.uid"], name="fk_volumes_resource_uid", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["attached_to"], ["resources.uid"], name="fk_volumes_attached_to", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("resource_uid", name="pk_volumes"),
    )
    op.create_index("ix_volumes_attached_to", "volumes", ["attached_to"])
