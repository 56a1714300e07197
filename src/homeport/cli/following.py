"""Following a deployment: its build log live, its status until it serves or has failed. Used by `deploy`.

Reads only: to stop following changes nothing in the deployment.
"""

import time
from typing import TYPE_CHECKING, Any

from homeport.cli.progress import Lines, progress
from homeport.core.clock import parse_timestamp
from homeport.core.ids import Kind
from homeport.workloads.states import WorkloadStatus

if TYPE_CHECKING:
    from homeport.client import Homeport

_INTERVAL_S = 0.3  # between two looks at the status: soon enough for people, little work for the server
_DONE = (WorkloadStatus.DEPLOYED, WorkloadStatus.BUILT)
_TOLD = ("WrongPort", "RegionSilent")  # reasons of events that say why it takes long
_FAILED = (WorkloadStatus.FAILED, WorkloadStatus.DEACTIVATED, WorkloadStatus.DELETING)


class Follower:
    """One deployment followed. `failure` is None when it serves, else what went wrong."""

    def __init__(self, client: "Homeport", kind: Kind, name: str, *, since: object) -> None:
        """`since`: the server's time of the deployment, RFC 3339; older build lines belong to earlier ones."""
        self._client = client
        self._kind = kind
        self._name = name
        self._since = parse_timestamp(since) if isinstance(since, str) else None
        self._shown: set[tuple[str, str]] = set()
        self._view = Lines()
        self.failure: str | None = None

    def follow(self) -> dict[str, Any]:
        """Wait for the end of the deployment and return the resource as it is then. The server bounds every step of a
        deployment, so this ends."""
        with progress(f"{self._name}: uploaded") as self._view:
            seen = ""
            while True:
                resource = self._client.get(self._kind, self._name)
                status = str(resource.get("status", ""))
                if status != seen:
                    seen = status
                    self._view.say(f"{self._name}: {status.lower()}")
                    self._view.update(f"{self._name}: {status.lower()}")
                self._tell_delays(resource)
                if status in (WorkloadStatus.BUILDING, WorkloadStatus.DEPLOYING, *_FAILED, *_DONE):
                    self._build_log(live=status == WorkloadStatus.BUILDING)
                if status in _DONE:
                    return resource
                if status in _FAILED:
                    self.failure = reason_of(resource)
                    return resource
                time.sleep(_INTERVAL_S)

    def _tell_delays(self, resource: dict[str, Any]) -> None:
        for event in resource.get("events") or ():
            if event.get("reason") in _TOLD and self._is_new(event, "message"):
                self._view.say(f"{self._name}: {event.get('message')}")

    def _build_log(self, *, live: bool) -> None:
        """Print new lines of the build; while it runs, until it ends."""
        from homeport.client.http import LogQuery
        from homeport.core.errors import NotFound

        try:
            for line in self._client.logs(self._kind, self._name, LogQuery(source="build", follow=live)):
                if self._is_new(line, "text"):
                    self._view.say(f"  | {line.get('text', '')}")
        except NotFound:
            return  # the build has not begun, or left no log

    def _is_new(self, told: dict[str, Any], text: str) -> bool:
        """Whether it is of this deployment and was not shown before; from then on it was. text: the key of its text."""
        key = (str(told.get("time")), str(told.get(text)))
        if key in self._shown or self._older(told):
            return False
        self._shown.add(key)
        return True

    def _older(self, line: dict[str, Any]) -> bool:
        moment = line.get("time")
        return self._since is not None and isinstance(moment, str) and parse_timestamp(moment) < self._since


def reason_of(resource: dict[str, Any]) -> str:
    """Why its deployment has failed, as the newest event says."""
    events = [event for event in resource.get("events") or () if event.get("status") == WorkloadStatus.FAILED]
    newest = max(events, key=lambda event: str(event.get("time", "")), default=None)
    return str(newest.get("message")) if newest else f"its status is {resource.get('status')}"
