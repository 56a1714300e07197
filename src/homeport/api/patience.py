"""What the public command line must see to come to an end (decision 8).

In a terminal `bl deploy` asks for the status one second after its upload and then every three, and waits for an hour
unless one of the later answers says BUILDING. Here a build often takes less time than that. So a build is shown as
going on to that client, and to no other, until it must have looked.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Depends, Request

from homeport.store.records import Event, Resource
from homeport.workloads.states import WorkloadStatus

USER_AGENT = "blaxel/cli/"  # how the public command line names itself
# From the archive's arrival on. It looks for the first time some four seconds after it: three more for a slow line.
BUILD_SHOWN_S = 7.0

_AFTER_BUILDING = (WorkloadStatus.DEPLOYING, WorkloadStatus.DEPLOYED, WorkloadStatus.FAILED)


async def watches_builds(request: Request) -> bool:
    """Whether the caller is the public command line. Read from the request, since no document need show it."""
    return request.headers.get("user-agent", "").startswith(USER_AGENT)


WatchesBuilds = Annotated[bool, Depends(watches_builds)]


def still_building(resource: Resource, events: Sequence[Event], now: datetime) -> Resource:
    """`resource` as that client is shown it. `events` are its own, oldest first."""
    if resource.status not in _AFTER_BUILDING:
        return resource
    deployments = (event for event in reversed(events) if event.reason in ("Accepted", "ArchiveReceived"))
    newest = next(deployments, None)
    if newest is None or newest.reason != "ArchiveReceived":
        return resource
    # An event of the future was stored before the clock was set back, and would count as new for as long.
    if not timedelta() <= now - newest.time < timedelta(seconds=BUILD_SHOWN_S):
        return resource
    return replace(resource, status=WorkloadStatus.BUILDING)
