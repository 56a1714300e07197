"""The loop that builds: every revision in state BUILDING gets its bundle or its reason. A server that dies meanwhile
finds the revision in that state again and takes the build up."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from homeport.build.archive import holds
from homeport.build.builder import Builder, BuildRequest
from homeport.build.bundle import Bundle
from homeport.build.dockerfile import NAME as DOCKERFILE
from homeport.configuration import LOCAL
from homeport.core.clock import Clock
from homeport.core.errors import DiskFull, Rejected, Unavailable
from homeport.core.ids import RevisionId
from homeport.core.images import read_image
from homeport.core.measures import BUILD_SECONDS
from homeport.core.service import Background, Signals
from homeport.reconcile.fetches import Fetches
from homeport.reconcile.images import end_push, register
from homeport.settings import DataDir
from homeport.store.contract import Store, Transaction
from homeport.store.records import Event, Revision
from homeport.workloads.states import RevisionState, WorkloadStatus
from homeport.workloads.steering import is_held

log = logging.getLogger(__name__)

BUILDS_AT_ONCE = 2  # more would only share the same cores and the same network
PASS_INTERVAL_S = 5.0  # when nothing wakes it; so often is a build tried whose driver is away

INTERNAL = "The build ended with an internal error, which is in the server's log. Deploy again, or tell your operator."


class Builds:
    """The service. At most `BUILDS_AT_ONCE` builds run; the rest wait in the store."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        builder: Builder,
        fetches: Fetches,
        data: DataDir,
        signals: Signals,
    ) -> None:
        self._store = store
        self._clock = clock
        self._builder = builder
        self._fetches = fetches
        self._data = data
        self._signals = signals
        self._background = Background()
        self._building: dict[RevisionId, asyncio.Task[None]] = {}
        self._told: set[RevisionId] = set()

    async def start(self) -> None:
        if self._background.active:
            return
        self._background.spawn("builds", self._loop())
        self._background.spawn("builds.caches", self._fetches.bound_caches())

    async def stop(self) -> None:
        await self._background.stop()

    async def _loop(self) -> None:
        while True:
            try:
                await self._pass()
            except Unavailable as error:
                log.warning("builds wait: %s", error.message)
            except Exception:  # a bug in one pass must not end every later build
                log.exception("a pass over the builds failed; the next one starts over")
            await self._signals.builds.wait(PASS_INTERVAL_S)

    async def _pass(self) -> None:
        waiting, wanted = await self._store.read(_waiting)
        if given_up := overtaken(waiting, wanted):
            waiting = await self._store.write(partial(self._give_up, given_up))
        present = {revision.id for revision in waiting}
        self._told &= present
        for revision_id in [known for known in self._building if known not in present]:
            await self._abandon(revision_id)
        for revision in waiting:
            if len(self._building) >= BUILDS_AT_ONCE or self._signals.builds.paused:
                return
            if revision.id not in self._building:
                work = self._build(revision)
                self._building[revision.id] = self._background.spawn(f"build.{revision.id}", work)

    def _give_up(self, overtaken: Sequence[Revision], tx: Transaction) -> list[Revision]:
        """Let these not be built, and return what is still to be."""
        for revision in overtaken:
            now, text = self._clock.now(), "a newer revision is built in its place"
            passed = replace(revision, state=RevisionState.SUPERSEDED, message=text, updated_at=now)
            if tx.revisions.replace_if_state(passed, RevisionState.BUILDING):
                message = f"Revision {revision.id} is not built: {text}"
                self._tell(tx, passed, WorkloadStatus.BUILDING, "Superseded", message)
        return [*tx.revisions.in_states([RevisionState.BUILDING])]

    async def _abandon(self, revision_id: RevisionId) -> None:
        """End the build of a revision that is not wanted any more: it would only keep others from theirs."""
        task = self._building[revision_id]
        task.cancel()
        await asyncio.wait([task])
        await self._builder.abandon(revision_id)

    async def _build(self, revision: Revision) -> None:
        began = self._clock.monotonic()
        try:
            record = await self._outcome(revision)
            if record is not None:
                await self._store.write(record)
                result = "failed" if record.func == self._record_failure else "built"
                seconds = self._clock.monotonic() - began
                BUILD_SECONDS.labels(revision.workspace, result).observe(seconds)
                self._signals.rollouts.wake(revision.resource_uid)
                self._signals.builds.wake()
        except Unavailable as error:  # its bundle is there: the next pass finds it and records it
            log.warning("the build of %s is not recorded yet: %s", revision.id, error.message)
        finally:
            self._building.pop(revision.id, None)
            if revision.region != LOCAL and read_image(revision.spec) is None:  # what is only resolved leaves no layers
                self._background.spawn(f"build.caches.{revision.id}", self._fetches.bound_caches())

    async def _outcome(self, revision: Revision) -> "partial[None] | None":
        """Fetch the source where it is not here, build, and return what records how it went; None where it is to be
        tried again."""
        try:
            self._builder.space.require()
            if revision.source_digest is None and read_image(revision.spec) is not None:
                return partial(self._record_bundle, revision, await self._fetches.resolve(revision))
            if revision.source_digest is None:
                fetched = await self._fetched(revision)
                if fetched is None:
                    return None  # it went away meanwhile
                revision = fetched
            bundle = await self._built(revision)
        except Unavailable as error:
            await self._wait(revision, error)
            return None
        except Rejected as error:
            await asyncio.to_thread(self._builder.space.look)
            if (full := self._builder.space.full) is not None:  # which may be why it failed
                await self._wait(revision, full)
                return None
            return partial(self._record_failure, revision, error.for_caller())
        except Exception as error:  # tried again it would end the same
            log.exception("the build of %s failed: %s", revision.id, getattr(error, "detail", ""))
            return partial(self._record_failure, revision, INTERNAL)
        return partial(self._record_bundle, revision, bundle)

    async def _built(self, revision: Revision) -> Bundle:
        """From the source that is here: an image in a region with an engine, else a program."""
        request = self._request(revision)
        if revision.region != LOCAL:
            return await self._fetches.build_image(revision, request)
        await asyncio.to_thread(self._keep_young, request)
        return await self._builder.build(request)

    async def _wait(self, revision: Revision, error: Unavailable) -> None:
        """Leave the revision to a later pass. The loop is not woken: it would turn without a pause until what is
        missing is back."""
        log.warning("the build of %s waits: %s", revision.id, error.message)
        engine_away = revision.region != LOCAL  # which may last; the node is back within a second
        if (isinstance(error, DiskFull) or engine_away) and revision.id not in self._told:
            self._told.add(revision.id)
            message = f"The build waits. {error.for_caller()}"
            await self._store.write(
                lambda tx: self._tell(tx, revision, WorkloadStatus.BUILDING, error.reason, message),
            )

    async def _fetched(self, revision: Revision) -> Revision | None:
        """The revision with its source, which is stored; None where it is not to be built any more."""
        fetched = await self._fetches.fetch(revision)
        dockerfile = await asyncio.to_thread(holds, self._source(fetched.source_digest), DOCKERFILE)
        found = replace(
            revision,
            source_digest=fetched.source_digest,
            source_commit=fetched.commit,
            updated_at=self._clock.now(),
        )
        message = f"Fetched commit {fetched.commit}; building"
        if fetched.left_out:
            message += f". Left out, being links to nothing or to directories: {', '.join(fetched.left_out[:10])}"

        def write(tx: Transaction) -> Revision | None:
            placed = self._fetches.settle(tx, found, dockerfile)
            if not tx.revisions.replace_if_state(placed, RevisionState.BUILDING):
                return None
            self._tell(tx, placed, WorkloadStatus.BUILDING, "RepositoryFetched", message)
            return placed

        return await self._store.write(write)

    def _keep_young(self, request: BuildRequest) -> None:
        """A bundle that is there already, and that nothing refers to until this build is recorded, is not collected
        meanwhile."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._data.bundles / self._builder.digest(request))

    def _request(self, revision: Revision) -> BuildRequest:
        digest = revision.source_digest or ""
        return BuildRequest(
            revision=revision.id,
            resource_uid=revision.resource_uid,
            workspace=revision.workspace,
            kind=revision.kind,
            name=revision.name,
            source=self._source(digest),
            source_digest=digest,
        )

    def _source(self, digest: str) -> Path:
        return self._data.sources / f"{digest}.zip"

    def _record_bundle(self, revision: Revision, bundle: Bundle, tx: Transaction) -> None:
        held = is_held(revision.spec) and not _is_wanted(tx, revision)
        built = replace(
            revision,
            state=RevisionState.HELD if held else RevisionState.BUILT,
            bundle_digest=bundle.digest,
            entrypoint=bundle.entrypoint,
            updated_at=self._clock.now(),
        )
        if tx.revisions.replace_if_state(built, RevisionState.BUILDING):
            kept_as = register(tx, built, bundle, self._clock.now())
            pushed = end_push(tx, built)
            status = WorkloadStatus.BUILT if held or pushed else WorkloadStatus.DEPLOYING
            done = f"The image is {bundle.image}" if bundle.image else "Build finished"
            done += f", kept as {kept_as}"
            message = f"{done}; the revision is kept and does not serve" if held else done
            message = f"{message}. {bundle.note}" if bundle.note else message
            self._tell(tx, built, status, "Built", message)

    def _record_failure(self, revision: Revision, message: str, tx: Transaction) -> None:
        failed = replace(revision, state=RevisionState.FAILED, message=message, updated_at=self._clock.now())
        if tx.revisions.replace_if_state(failed, RevisionState.BUILDING):
            self._tell(tx, failed, WorkloadStatus.FAILED, "BuildFailed", message)
            end_push(tx, failed)

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


def _waiting(tx: Transaction) -> tuple[list[Revision], frozenset[RevisionId]]:
    """What is to be built, and those of it that shall serve then."""
    waiting = tx.revisions.in_states([RevisionState.BUILDING])
    return waiting, frozenset(one.id for one in waiting if _is_wanted(tx, one))


def _is_wanted(tx: Transaction, revision: Revision) -> bool:
    resource = tx.resources.by_uid(revision.resource_uid)
    return resource is not None and revision.id in resource.traffic.wanted.revisions


def overtaken(waiting: Sequence[Revision], wanted: Collection[RevisionId]) -> list[Revision]:
    """Those of them that an engine builds or pulls, that nobody wants any more, and for which a newer one of the same
    workload waits as well: it would take their turn, and an engine has better to do. Revisions that are only to be kept
    stand apart."""
    serving = [one for one in waiting if not is_held(one.spec)]
    newest: dict[str, int] = {}
    for one in serving:
        newest[one.resource_uid] = max(one.generation, newest.get(one.resource_uid, 0))
    unwanted = [one for one in serving if one.id not in wanted]
    return [one for one in unwanted if one.region != LOCAL and one.generation < newest[one.resource_uid]]
