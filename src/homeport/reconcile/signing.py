"""New signing keys, and the end of old ones, while everything runs.

A rotation has one moment that counts: when the file names the new key first. Before it the gateway has learnt the new
key and nothing is signed with it; killed there, nothing has happened. After it the old key verifies until nothing needs
it, or until somebody says that it shall not. Called by `homeport.app.signing`, and by itself each hour.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from homeport.core.clock import Clock
from homeport.core.errors import Conflict, HomeportError, NotFound, Unauthenticated, Unavailable
from homeport.core.private import replace_private
from homeport.core.service import Background
from homeport.identity.keys import GATEWAY_AUDIENCE, KeyRing, SigningKey, kid_of
from homeport.identity.rotation import Given, needs, reigns
from homeport.settings import DataDir
from homeport.store.contract import Store, Transaction
from homeport.store.records import Replica

log = logging.getLogger(__name__)

LOOK_S = 3600.0  # how late an old key may go; nothing waits for it
_START_MOST = timedelta(minutes=15)  # from the start of a program to its readiness; longer ones are given up


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """One key as people see it. needs: why it stays, in words; of the one that signs, none."""

    kid: str
    made_at: datetime | None
    signs: bool
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeys:
    """The keys of one installation and what happens to them. `tell_gateway` hands the present keys to the gateway, and
    is True once it has them. `turn` is held by whoever changes them."""

    store: Store
    clock: Clock
    ring: KeyRing
    data: DataDir
    tell_gateway: Callable[[], Awaitable[bool]]
    turn: asyncio.Lock

    async def known(self) -> list[KnownKey]:
        """Every key, the one that signs first."""
        held = self.ring.held
        given, now = await self.store.read(lambda tx: _given(tx, self.clock.now())), self.clock.now()
        found = [KnownKey(kid=held[0].kid, made_at=held[0].made_at, signs=True)]
        for one, reign in [*zip(held, reigns([one.made_at for one in held]), strict=True)][1:]:
            why = tuple(needs(reign, given, now))
            found.append(KnownKey(kid=one.kid, made_at=one.made_at, signs=False, needs=why))
        return found

    async def rotate(self, *, only: bool = False) -> str:
        """Have a new key sign, and return its id; the old ones verify on. `only`: they are void at once, and so is all
        that they signed. Raises `Unavailable`, with everything as before, when the gateway does not take it."""
        async with self.turn:
            before, new = self.ring.held, SigningKey.generate(self.clock.now())
            self.ring.hold([*before, new])
            try:
                await self._told("the new key; nothing was changed")
            except BaseException:
                self.ring.hold(before)
                raise
            new = replace(new, made_at=self.clock.now())
            self.ring.keep(self.data.signing_key, [new, *before])
            # Before the older ones go: killed here, whoever repeats this has a key to do it with.
            renew_admin_key(self.ring, self.data.admin_key, self.clock.now())
            log.warning("signing key %s signs", new.kid)
            if only:
                await self._drop({one.kid for one in before})
            return new.kid

    async def retire(self, kid: str, *, force: bool = False) -> KnownKey:
        """Let go of a key that signs no more; what it signed is void. `kid` may be the beginning of an id. Raises
        `NotFound`, and `Conflict` for the one that signs and for one that is needed, unless `force`."""
        async with self.turn:
            found = _chosen(await self.known(), kid)
            if found.signs:
                raise Conflict(f"{found.kid} is the key that signs.", hint="Rotate first: `homeport keys rotate`.")
            if found.needs and not force:
                raise Conflict(
                    f"{found.kid} is needed still: {'; '.join(found.needs)}.",
                    hint="Renew those first, or say --force: they are void then.",
                )
            await self._drop({found.kid})
            return found

    async def retire_unneeded(self) -> None:
        """Let go of the keys that nothing needs."""
        async with self.turn:
            gone = {one.kid for one in await self.known() if not one.signs and not one.needs}
            if gone:
                await self._drop(gone)

    async def _drop(self, kids: set[str]) -> None:
        self.ring.keep(self.data.signing_key, [one for one in self.ring.held if one.kid not in kids])
        log.warning("signing key %s is gone; what it signed is void", ", ".join(sorted(kids)))
        await self._told("that a key is gone; it is told again with the next change")

    async def _told(self, what: str) -> None:
        if not await self.tell_gateway():
            raise Unavailable(f"The gateway does not say that it knows {what}.", hint="Try again.")


class Retirement:
    """The service that lets old keys go once nothing needs them."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys
        self._background = Background()

    async def start(self) -> None:
        if not self._background.active:
            self._background.spawn("signing keys", self._loop())

    async def stop(self) -> None:
        await self._background.stop()

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._keys.retire_unneeded()
            except HomeportError as error:
                log.warning("old signing keys stay for now: %s", error.message)
            except Exception:  # a bug here must not end what runs
                log.exception("a look at the signing keys failed; the next one starts over")


def renew_admin_key(ring: KeyRing, path: Path, now: datetime) -> None:
    """Have the key of the first run in the file at `path` be signed by the key that signs now: the same key, so that
    copies are good for as long as the one that signed them. One that is none of ours, or void, stays as it is."""
    try:
        token = path.read_text().strip()
        if kid_of(token) == ring.held[0].kid:
            return
        claims = ring.verify(token, GATEWAY_AUDIENCE, now)
    except (OSError, Unauthenticated):
        return
    replace_private(path, f"{ring.sign(claims, GATEWAY_AUDIENCE)}\n".encode())


def _given(tx: Transaction, now: datetime) -> Given:
    workspaces = [workspace.name for workspace in tx.identities.workspaces()]
    accounts = [account for name in workspaces for account in tx.identities.accounts(name)]
    owned = [account for account in accounts if account.owner_uid is None]
    keys = [key for account in owned for key in tx.identities.keys(account.client_id) if key.revoked_at is None]
    return Given(
        keys=[(key.created_at, key.expires_at) for key in keys],
        accounts=[account.created_at for account in owned],
        programs=[_started(replica) for replica in tx.replicas.every() if replica.state.runs],
        tasks=[attempt.created_at for attempt, _ in tx.executions.open_attempts()],
    )


def _started(replica: Replica) -> datetime:
    """When its program was started, at the earliest."""
    return replica.created_at if replica.ready_at is None else max(replica.created_at, replica.ready_at - _START_MOST)


def _chosen(known: Sequence[KnownKey], kid: str) -> KnownKey:
    found = [one for one in known if kid and one.kid.startswith(kid)]
    if len(found) != 1:
        few = "There are several signing keys" if found else "There is no signing key"
        raise NotFound(f"{few} {kid!r}.", hint="`homeport keys show` lists them.")
    return found[0]
