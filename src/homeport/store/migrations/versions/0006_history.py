"""The history of executions, attempts that were lost counted apart from those that Homeport stopped, and the wish to
stop what runs. Of an execution that is there already the log says that it began before.

Follows 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("executions", sa.Column("stop_grace_s", sa.Integer(), nullable=True))
    op.add_column("executions", sa.Column("lost", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.create_table(
        "history",
        sa.Column("execution", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("state", sa.SmallInteger(), nullable=True),
        sa.Column("then", sa.SmallInteger(), nullable=True),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["execution"], ["executions.number"], name="fk_history_execution", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("execution", "seq", name="pk_history"),
        sqlite_with_rowid=False,
    )
    # Until now an attempt that Homeport stopped was written down as lost (5); its state is 6 from now on.
    op.execute("UPDATE attempts SET state = 6 WHERE state = 5 AND outcome LIKE '%\"stopped\"_true%'")
    op.execute(
        "UPDATE executions SET lost = (SELECT count(*) FROM attempts"
        " WHERE attempts.execution = executions.number AND attempts.state = 5)"
    )
    op.execute(
        "INSERT INTO history (execution, seq, at, kind) SELECT number, 1, updated_at, 0 FROM executions WHERE visible"
    )
