"""Events on the wire (outside the contract, which shows a workload's own with it)."""

from homeport.wire.body import Reply


class PlacedEvent(Reply):
    """`number` grows and is never used again. `kind` and `name`: what it happened to."""

    number: int
    time: str
    kind: str
    name: str
    type: str
    status: str
    reason: str | None = None
    revision: str | None = None
    message: str


class Events(Reply):
    """Newest first. `next` is the `before` of the next page; absent on the last one."""

    data: list[PlacedEvent]
    next: int | None = None
