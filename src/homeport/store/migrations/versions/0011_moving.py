"""Indexes that find the replicas on their way somewhere, and the revisions that were built as one bundle.

Follows 0010.
"""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_index("ix_replicas_state_resource_uid", "replicas", ["state", "resource_uid"])
    op.create_index("ix_revisions_workspace_bundle_digest", "revisions", ["workspace", "bundle_digest"])
