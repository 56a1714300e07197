"""An image that somebody removed from an engine while a kept revision runs it is pulled again, by its content, from
where it came. Asked by the docker driver when a container cannot be made for want of its image.

The pull goes on in the background: whoever starts the unit is told that the driver is not ready, and comes again.
"""

import asyncio
from collections.abc import Mapping

from homeport.core.clock import Clock
from homeport.core.errors import DriverUnavailable
from homeport.core.ids import RevisionId
from homeport.core.images import FIELD, read_image
from homeport.core.service import Background
from homeport.core.units import UnitSpec
from homeport.drivers.docker.images import Images
from homeport.drivers.docker.refusals import ImageGone, ImageRefused
from homeport.reconcile.logins import RevisionLogins
from homeport.store.contract import Store, Transaction
from homeport.store.records import BroughtImage, Event, Revision
from homeport.workloads.states import WorkloadStatus

AT_ONCE_S = 2.0  # a pull that takes no longer is waited for


class Restorer:
    """`engines` by region. `timeout_s`: for one pull."""

    def __init__(
        self, store: Store, clock: Clock, engines: Mapping[str, Images], logins: RevisionLogins, timeout_s: float
    ) -> None:
        self._store = store
        self._clock = clock
        self._engines = engines
        self._logins = logins
        self._timeout_s = timeout_s
        self._background = Background()
        self._pulls: dict[tuple[str, str], asyncio.Task[ImageGone | None]] = {}

    async def stop(self) -> None:
        await self._background.stop()

    async def restore(self, unit: UnitSpec) -> None:
        """Have the unit's image on its engine again. Raises `DriverUnavailable` while it is being pulled, `ImageGone`
        with the reason and what to do where it cannot be."""
        key = (unit.region, unit.image or "")
        pull = self._pulls.get(key)
        if pull is None:
            pull = self._pulls[key] = self._background.spawn(f"restore.{unit.image}", self._pull(unit))
        await asyncio.wait([pull], timeout=AT_ONCE_S)
        if not pull.done():
            raise DriverUnavailable(f"The image {unit.image} is being pulled again.")
        self._pulls.pop(key, None)
        if (failed := pull.result()) is not None:
            raise failed

    async def _pull(self, unit: UnitSpec) -> ImageGone | None:
        image = unit.image or ""
        revision, source = await self._store.read(lambda tx: _source_of(tx, unit))
        if revision is None or not source:
            return ImageGone(FIELD, f"is not on the engine any more; {_how(revision)}", value=image)
        try:
            async with asyncio.timeout(self._timeout_s):
                logins = await self._logins.of(revision)
                found = await self._engines[unit.region].pull_content(source, logins)
        except TimeoutError:
            why = f"it takes longer than {self._timeout_s:g} s."
        except ImageRefused as error:
            why = error.for_caller()
        except DriverUnavailable as error:
            why = error.message
        else:
            if found == image:
                await self._store.write(lambda tx: self._record(tx, revision, source))
                return None
            why = f"it is {found} now."
        rule = f"is not on the engine any more, and cannot be pulled again from {source}: {why} Else {_how(revision)}"
        return ImageGone(FIELD, rule, value=image)

    def _record(self, tx: Transaction, revision: Revision, source: str) -> None:
        now = self._clock.now()
        brought = BroughtImage(
            region=revision.region, digest=revision.bundle_digest or "", reference="", created_at=now
        )
        tx.images.bring(brought)
        if tx.resources.by_uid(revision.resource_uid) is None:
            return
        event = Event(
            resource_uid=revision.resource_uid,
            time=now,
            type="deployment",
            status=WorkloadStatus.DEPLOYING,
            message=f"The image was not on the engine any more, and was pulled again from {source}",
            reason="ImageRestored",
            revision=revision.id,
        )
        tx.events.add(event)


def _source_of(tx: Transaction, unit: UnitSpec) -> tuple[Revision | None, str]:
    """The revision that the unit runs, and where its image comes from by its content."""
    revision = tx.revisions.get(RevisionId(unit.labels.get("revision", "")))
    if revision is None:
        return None, ""
    tags = (tag for tags in tx.images.in_workspace(revision.workspace).values() for tag in tags)
    return revision, next((tag.source for tag in tags if tag.digest == revision.bundle_digest and tag.source), "")


def _how(revision: Revision | None) -> str:
    named = read_image(revision.spec) if revision else None
    if named is not None:
        return f"bring {named.text} back to the engine, or deploy again"
    return "deploy its folder or repository again, which builds it anew"
