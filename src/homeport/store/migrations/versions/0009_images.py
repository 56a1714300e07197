"""Images: what workloads were built as, their tags, and what engines have because of us.

Follows 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("resources", sa.Column("image", sa.Text(), nullable=True))
    op.create_table(
        "image_tags",
        sa.Column("resource_uid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("entrypoint", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deployed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["resource_uid"], ["resources.uid"], name="fk_image_tags_resource_uid", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("resource_uid", "name", name="pk_image_tags"),
    )
    op.create_index("ix_image_tags_digest", "image_tags", ["digest"])
    op.create_table(
        "brought_images",
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("region", "digest", name="pk_brought_images"),
    )
