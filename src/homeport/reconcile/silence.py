"""Tells workloads that their region is silent: its engine does not answer, so nothing is known of their programs there.
Part of the rollouts, which pass those by."""

from collections.abc import Iterable
from functools import partial

from homeport.core.clock import Clock
from homeport.reconcile.observation import Workload
from homeport.store.contract import Store, Transaction
from homeport.store.records import Event
from homeport.workloads.states import WorkloadStatus

TOLD_AFTER_S = 5.0  # an engine or a node that is started anew is back by then


class Silence:
    """Remembers which regions are silent, and who was told."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._since: dict[str, float] = {}
        self._told: set[tuple[str, str]] = set()

    async def tell(self, silent: frozenset[str], workloads: Iterable[Workload]) -> None:
        """One event for each workload and each time that a region of its is silent for long."""
        now = self._clock.monotonic()
        self._since = {region: self._since.get(region, now) for region in silent}
        self._told = {(region, uid) for region, uid in self._told if region in silent}
        lasting = {region for region, since in self._since.items() if now - since >= TOLD_AFTER_S}
        for workload in workloads if lasting else ():
            uid = workload.resource.uid
            # Where nothing runs or is to run, nothing waits.
            mine = {workload.revision(replica.revision_id).region for replica in workload.replicas} & lasting
            for region in sorted(mine):
                if (region, uid) not in self._told:
                    self._told.add((region, uid))
                    await self._store.write(partial(self._add, workload, region))

    def _add(self, workload: Workload, region: str, tx: Transaction) -> None:
        message = (
            f"The engine of the region {region!r} does not answer: nothing is known of what runs there, and what is to "
            "be done there waits"
        )
        tx.events.add(
            Event(
                resource_uid=workload.resource.uid,
                time=self._clock.now(),
                type="deployment",
                status=workload.resource.status or WorkloadStatus.DEPLOYING,
                message=message,
                reason="RegionSilent",
            )
        )
