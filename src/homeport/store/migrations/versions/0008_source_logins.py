"""Logins of registries that came in an upload, sealed.

Follows 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("revisions", sa.Column("source_logins", sa.Text(), nullable=True))
