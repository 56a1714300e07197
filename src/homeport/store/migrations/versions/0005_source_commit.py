"""The commit as which the source of a revision was fetched.

Follows 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("revisions", sa.Column("source_commit", sa.Text(), nullable=True))
