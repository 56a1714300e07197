"""Where a replica is reached, for one with a network of its own.

Follows 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("replicas", sa.Column("address", sa.Text(), nullable=False, server_default=""))
