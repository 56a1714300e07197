"""Which images go, and their going: tags that no kept revision runs, by a rule of age and number, and after them what
engines have because of us. One part of each pass of the garbage loop."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from homeport.configuration import ImagesTable
from homeport.core.clock import Clock
from homeport.core.errors import Unavailable
from homeport.core.ids import Kind
from homeport.drivers.docker.images import Images
from homeport.reconcile.images import PULLING, PUSHING, going, remove_tags, users_of
from homeport.store.contract import Store, Transaction
from homeport.store.records import BroughtImage
from homeport.workloads.states import RevisionState

log = logging.getLogger(__name__)


class Retention:
    """`engines`: the images of each region's engine."""

    def __init__(self, store: Store, clock: Clock, rule: ImagesTable, engines: Mapping[str, Images]) -> None:
        self._store = store
        self._clock = clock
        self._rule = rule
        self._engines = engines

    async def drop_tags(self) -> None:
        """Remove the tags that the rule says."""
        now = self._clock.now()
        old = await self._store.read(lambda tx: self._candidates(tx, now))
        for line in await self._store.write(lambda tx: self._drop_tags(tx, old, now)) if old else ():
            log.info("%s", line)

    async def clear_engines(self) -> None:
        """Remove what nothing needs any more, once its containers are forgotten. An engine that is away keeps its
        images until it is back."""
        for image in await self._store.read(unneeded):
            engine = self._engines.get(image.region)
            if engine is None:
                continue
            try:
                if not await self._gone(engine, image):
                    continue  # a container of somebody's needs it
            except Unavailable as error:
                log.warning("the image %s stays on the engine of %s: %s", image.digest, image.region, error.message)
                continue
            await self._forget(image)

    async def _gone(self, engine: Images, image: BroughtImage) -> bool:
        if not image.digest.startswith(PULLING):
            return await engine.give_up(image.digest, image.reference)
        found = await engine.named(image.reference)
        needed = await self._store.read(needed_digests)
        if found is None or found.removeprefix("sha256:") in needed:  # another deployment has come to have it
            return True
        return await engine.give_up_name(image.reference)

    async def _forget(self, image: BroughtImage) -> None:
        await self._store.write(lambda tx: tx.images.forget_brought(image.region, image.digest))
        log.info("removed the image %s from the engine of %s", image.reference or image.digest, image.region)

    @property
    def _keeping(self) -> dict[str, int]:
        return {"keep_days": self._rule.unused_days, "keep_tags": self._rule.unused_tags}

    def _candidates(self, tx: Transaction, now: datetime) -> list[str]:
        """The images of which something would go if nobody used it, without asking who does."""
        tags_of = tx.images.every()
        found = ((uid, tags_of.get(uid, [])) for uid in tx.resources.uids(Kind.IMAGE))
        return [uid for uid, tags in found if not tags or going(tags, (), now, **self._keeping)]

    def _drop_tags(self, tx: Transaction, uids: list[str], now: datetime) -> list[str]:
        told = []
        for uid in uids:
            tags = tx.images.of(uid)
            image = tx.resources.by_uid(uid)
            if image is None or image.status in PUSHING:
                continue
            used = {one.bundle_digest or "" for one in users_of(tx, image, {tag.digest for tag in tags})}
            names = [tag.name for tag in going(tags, used, now, **self._keeping)]
            failed_long_ago = not tags and now - image.updated_at > timedelta(days=self._rule.unused_days)
            if names or failed_long_ago:
                remove_tags(tx, image, names)
                told += [f"removed the image {image.name}:{name} of workspace {image.workspace}" for name in names]
        return told


def needed_digests(tx: Transaction) -> set[str]:
    """Of what a kept revision or a tag names."""
    return tx.revisions.digests() | tx.images.digests()


def unneeded(tx: Transaction) -> list[BroughtImage]:
    """What engines have because of us and neither a revision nor a tag names. None while something is being built: it
    may be what that has just found."""
    if tx.revisions.in_states([RevisionState.BUILDING]):
        return []
    needed = needed_digests(tx)
    return [image for image in tx.images.brought() if image.digest not in needed]
