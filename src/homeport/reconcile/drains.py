"""Which of the replicas that are on their way out have no request left. Used by the rollouts.

Kept in memory only: a new server watches anew. It decides nothing; a replica that never becomes idle is ended by the
rollout's own deadline.
"""

import logging
from collections.abc import Callable, Iterable

from homeport.core.errors import HomeportError
from homeport.core.ids import ReplicaId
from homeport.core.service import Background
from homeport.dataplane.routes import Endpoint
from homeport.dataplane.xds import XdsServer
from homeport.reconcile.routes import Routes
from homeport.store.records import Replica
from homeport.workloads.states import ReplicaState

log = logging.getLogger(__name__)

WATCH_S = 60.0  # longer than any drain: the step itself gives up first


class Drains:
    """`idle` holds the replicas without a request; `wake` is called with the workload of each new one."""

    def __init__(self, routes: Routes, xds: XdsServer, wake: Callable[[str], None]) -> None:
        self._routes = routes
        self._xds = xds
        self._wake = wake
        self._background = Background()
        self._watched: set[ReplicaId] = set()
        self.idle: set[ReplicaId] = set()

    async def stop(self) -> None:
        await self._background.stop()

    def unwatched(self, replicas: Iterable[Replica]) -> list[Replica]:
        """Those that drain and of which nobody finds out when they are idle."""
        known = self._watched | self.idle
        return [one for one in replicas if one.state is ReplicaState.DRAINING and one.id not in known]

    def watch(self, replicas: Iterable[Replica]) -> None:
        for replica in self.unwatched(replicas):
            self._watched.add(replica.id)
            self._background.spawn(f"drain.{replica.id}", self._watch(replica))

    def keep(self, present: Iterable[ReplicaId]) -> None:
        """Forget those that are not among `present`, which is every replica of every workload."""
        self.idle &= {*present}

    async def _watch(self, replica: Replica) -> None:
        """A gateway that has not yet taken the replica out may still send it requests: so its word counts only after
        its acknowledgement."""
        address, port = replica.endpoint
        endpoint = Endpoint(address=address, port=port, draining=True)
        try:
            taken = await self._xds.acknowledged(await self._routes.publish_one(replica.resource_uid), WATCH_S)
            if taken and await self._xds.drained([endpoint], WATCH_S):
                self.idle.add(replica.id)
                self._wake(replica.resource_uid)
        except HomeportError as error:
            log.warning("whether replica %s is idle cannot be told: %s %s", replica.id, error.message, error.detail)
        finally:
            self._watched.discard(replica.id)
