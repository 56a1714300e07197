"""How the requests of a workload are shared, and the canary that an event concerns.

Follows 0011. What served until now is active, and what was on its way to serve is wanted.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_PENDING = ("uploading", "building", "built", "starting")


def upgrade() -> None:
    op.add_column("resources", sa.Column("traffic", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("events", sa.Column("canary_revision", sa.Text(), nullable=False, server_default=""))
    connection = op.get_bind()
    chosen = sa.text("SELECT uid FROM resources WHERE kind IN ('agent', 'function', 'job')")
    for uid in connection.scalars(chosen).all():
        traffic = json.dumps(_traffic_of(connection, uid), separators=(",", ":"))
        written = sa.text("UPDATE resources SET traffic = :traffic WHERE uid = :uid")
        connection.execute(written, {"traffic": traffic, "uid": uid})


def _traffic_of(connection: sa.Connection, uid: str) -> dict[str, object]:
    """As `homeport.workloads.traffic` writes it now."""
    chosen = sa.text(
        "SELECT id, state, generation, message, spec FROM revisions WHERE resource_uid = :uid ORDER BY generation DESC"
    )
    found = connection.execute(chosen, {"uid": uid}).all()
    serving = next((one for one in found if one.state == "serving"), None)
    previous = next((one.id for one in found if one.state == "superseded" and not one.message), None)
    coming = [
        one for one in found if one.state in _PENDING and (serving is None or one.generation > serving.generation)
    ]
    to_serve = next((one.id for one in coming if not _is_held(one.spec)), None)
    served = {"active": serving.id} if serving else {}
    wanted = {"active": to_serve} if to_serve else served
    traffic = {"served": served, "wanted": wanted, "previous": previous}
    return {key: value for key, value in traffic.items() if value}


def _is_held(spec: str) -> bool:
    return (json.loads(spec).get("revision") or {}).get("traffic") == 0
