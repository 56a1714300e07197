"""The loop that builds: every revision in state BUILDING gets its bundle or its reason. A server that dies meanwhile
finds the revision in that state again and takes the build up."""

import logging
from dataclasses import replace
from functools import partial

from homeport.build.builder import Builder, BuildRequest
from homeport.build.bundle import Bundle
from homeport.core.clock import Clock
from homeport.core.errors import HomeportError, Unavailable
from homeport.core.ids import RevisionId
from homeport.core.service import Background, Signals
from homeport.settings import DataDir
from homeport.store.contract import Store, Transaction
from homeport.store.records import Event, Revision
from homeport.workloads.states import RevisionState, WorkloadStatus

log = logging.getLogger(__name__)

BUILDS_AT_ONCE = 2  # more would only share the same cores and the same network
PASS_INTERVAL_S = 5.0  # when nothing wakes it


class Builds:
    """The service. At most `BUILDS_AT_ONCE` builds run; the rest wait in the store."""

    def __init__(self, store: Store, clock: Clock, builder: Builder, data: DataDir, signals: Signals) -> None:
        self._store = store
        self._clock = clock
        self._builder = builder
        self._data = data
        self._signals = signals
        self._background = Background()
        self._building: set[RevisionId] = set()

    async def start(self) -> None:
        self._background.spawn("builds", self._loop())

    async def stop(self) -> None:
        await self._background.stop()

    async def _loop(self) -> None:
        while True:
            try:
                await self._pass()
            except HomeportError:
                log.exception("a pass over the builds failed; the next one starts over")
            await self._signals.builds.wait(PASS_INTERVAL_S)

    async def _pass(self) -> None:
        waiting = await self._store.read(lambda tx: tx.revisions.in_states([RevisionState.BUILDING]))
        for revision in waiting:
            if len(self._building) >= BUILDS_AT_ONCE:
                return
            if revision.id not in self._building:
                self._building.add(revision.id)
                self._background.spawn(f"build.{revision.id}", self._build(revision))

    async def _build(self, revision: Revision) -> None:
        try:
            bundle = await self._builder.build(self._request(revision))
        except Unavailable as error:
            log.warning("build of %s waits: %s", revision.id, error.message)
        except HomeportError as error:
            await self._store.write(partial(self._record_failure, revision, error.for_caller()))
        else:
            await self._store.write(partial(self._record_bundle, revision, bundle))
        finally:
            self._building.discard(revision.id)
            self._signals.rollouts.wake()
            self._signals.builds.wake()

    def _request(self, revision: Revision) -> BuildRequest:
        digest = revision.source_digest or ""
        return BuildRequest(
            revision=revision.id,
            resource_uid=revision.resource_uid,
            workspace=revision.workspace,
            kind=revision.kind,
            name=revision.name,
            source=self._data.sources / f"{digest}.zip",
            source_digest=digest,
        )

    def _record_bundle(self, revision: Revision, bundle: Bundle, tx: Transaction) -> None:
        built = replace(
            revision,
            state=RevisionState.BUILT,
            bundle_digest=bundle.digest,
            entrypoint=bundle.entrypoint,
            updated_at=self._clock.now(),
        )
        if tx.revisions.replace_if_state(built, RevisionState.BUILDING):
            self._tell(tx, built, WorkloadStatus.DEPLOYING, "Built", "Build finished")

    def _record_failure(self, revision: Revision, message: str, tx: Transaction) -> None:
        failed = replace(revision, state=RevisionState.FAILED, message=message, updated_at=self._clock.now())
        if tx.revisions.replace_if_state(failed, RevisionState.BUILDING):
            self._tell(tx, failed, WorkloadStatus.FAILED, "BuildFailed", message)

    def _tell(self, tx: Transaction, revision: Revision, status: WorkloadStatus, reason: str, message: str) -> None:
        """The status is the newest generation's; the event is kept in any case."""
        resource = tx.resources.by_uid(revision.resource_uid)
        if resource is None:
            return
        if resource.generation == revision.generation and not resource.deleting:
            seen = revision.generation if status is WorkloadStatus.FAILED else resource.observed_generation
            tx.resources.replace(replace(resource, status=status, observed_generation=seen), resource.generation)
        tx.events.add(
            Event(
                resource_uid=resource.uid,
                time=self._clock.now(),
                type="build",
                status=status,
                message=message,
                reason=reason,
                revision=revision.id,
            )
        )
