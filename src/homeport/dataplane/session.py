"""One Envoy's stream of delta ADS: what it holds, what it must get next, and what it said to it.

Made by `XdsServer` for each stream. It brings Envoy from the snapshot that it has to the newest, in three steps, so
that no request meets a route to a cluster that is not there (make before break):

    1. new and changed clusters and endpoints; wait until they are acknowledged
    2. new and changed scopes, route tables, filters and listeners; wait again
    3. remove listeners and scopes, then clusters, that are no more

A snapshot that comes meanwhile waits for its turn; of several the newest is taken.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from homeport.dataplane.changes import Changes
from homeport.dataplane.packing import CLUSTERS, ENDPOINTS, FILTERS, LISTENERS, ROUTES, SCOPES, Packed
from homeport.dataplane.snapshot import Snapshot

log = logging.getLogger(__name__)

STEP_TIMEOUT_S = 10.0  # Envoy acknowledges in milliseconds; at 10 000 new clusters in seconds
QUEUE_LENGTH = 256  # responses not yet on the wire; more than that and the sender waits
WILDCARDS = (CLUSTERS, SCOPES, LISTENERS)  # types of which Envoy wants all; of the others it names each
PARTS = {CLUSTERS: ENDPOINTS, SCOPES: ROUTES}  # what Envoy asks for, by the same name, once it has the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A snapshot and its number."""

    version: int
    snapshot: Snapshot


@dataclass(slots=True)
class _Subscription:
    """One type: what Envoy asked for by name, and the version of everything that it was sent and not told to drop."""

    names: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A response that Envoy has not answered."""

    type_url: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A resource's version that Envoy does not take, and why."""

    version: str
    reason: str


class EnvoySession:
    """The state of one stream. `receive` takes what Envoy says, `follow` brings it up to date, `queue` holds what is
    to be sent to it."""

    def __init__(self, published: Callable[[], Published], changes: Changes) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=QUEUE_LENGTH)
        self.applied = 0  # the newest version that Envoy holds and acknowledged
        self.refused = 0  # the newest version of which it refused a part
        self._published = published
        self._changes = changes
        self._target = published()
        self._subscriptions: dict[str, _Subscription] = {}
        self._open: dict[str, _Sent] = {}
        self._awaited: dict[str, set[str]] = {ENDPOINTS: set(), ROUTES: set()}  # sent for, not yet acknowledged
        self._refused: dict[tuple[str, str], _Refusal] = {}  # by type and name
        self._nonce = 0

    def rejected(self) -> dict[str, str]:
        """Why Envoy refused what it refuses now, by type and name."""
        return {
            f"{type_url.rpartition('.')[2]} {name}": refusal.reason
            for (type_url, name), refusal in self._refused.items()
        }

    async def receive(self, request: Any) -> None:
        """Take in an acknowledgement, a refusal, a subscription, or several of these in one."""
        if request.response_nonce:
            await self._take_answer(request)
        first = request.type_url not in self._subscriptions
        subscription = self._subscriptions.setdefault(request.type_url, _Subscription())
        if first:
            subscription.held.update(request.initial_resource_versions)
        for name in request.resource_names_unsubscribe:
            subscription.names.discard(name)
            subscription.held.pop(name, None)
            self._refused.pop((request.type_url, name), None)
        asked = [name for name in request.resource_names_subscribe if name != "*"]
        subscription.names.update(asked)
        if subscription.held and first and request.type_url != ENDPOINTS:
            pass  # an Envoy that comes back holds a working whole: `follow` changes it in the right order
        elif first and request.type_url in WILDCARDS:
            await self._send(request.type_url, self._changed(request.type_url), [])
        elif asked:
            await self._send_asked(request.type_url, asked, again=not first)
        self._changes.notify()

    async def follow(self) -> None:
        """Bring Envoy to every snapshot that is published, for ever."""
        while True:
            await self._changes.until(lambda: self._published().version > max(self.applied, self.refused), None)
            self._target = self._published()
            if await self._apply():
                self.applied = self._target.version
            else:
                self.refused = self._target.version
            self._changes.notify()

    async def _apply(self) -> bool:
        """The three steps. Nothing is removed while Envoy refuses a part of the new: it may still need the old. False
        then."""
        steps: tuple[tuple[tuple[str, ...], bool], ...] = (
            ((CLUSTERS, ENDPOINTS), False),
            ((SCOPES, ROUTES, FILTERS, LISTENERS), False),
            ((LISTENERS, SCOPES), True),
            ((CLUSTERS,), True),
        )
        await self._changes.until(self._is_subscribed, None)
        for types, removing in steps:
            if removing and self._refuses_target():
                return False
            for type_url in types:
                changed = [] if removing else self._changed(type_url)
                gone = self._gone(type_url) if removing else []
                if changed or gone:
                    await self._send(type_url, changed, gone)
            if not await self._changes.until(self._is_settled, STEP_TIMEOUT_S):
                log.error("Envoy has not acknowledged in %s s: %s", STEP_TIMEOUT_S, self._unsettled())
                for awaited in self._awaited.values():
                    awaited.clear()  # one workload may be without endpoints for a moment; all others must go on
                await self._changes.until(self._is_settled, None)  # an Envoy that is silent loses its connection
        return not self._refuses_target()

    async def _take_answer(self, request: Any) -> None:
        sent = self._open.pop(request.response_nonce, None)
        if sent is None:
            log.warning("Envoy answered a response that was never sent: %s", request.response_nonce)
            return
        if sent.type_url in self._awaited:
            self._awaited[sent.type_url] -= sent.names
        if request.HasField("error_detail"):
            await self._take_refusal(sent, request.error_detail.message)
            return
        for name in sent.names:
            self._refused.pop((sent.type_url, name), None)

    async def _take_refusal(self, sent: _Sent, reason: str) -> None:
        names = sorted(sent.names)
        log.error("Envoy refused %s %s: %s", sent.type_url.rpartition(".")[2], names[:5], reason)
        held = self._subscriptions[sent.type_url].held
        self._refused.update({(sent.type_url, name): _Refusal(held[name], reason) for name in names if name in held})
        # A cluster or scope that was refused never asks for what belongs to it.
        for awaited in self._awaited.values():
            awaited -= sent.names
        if len(names) > 1:  # one by one, so that a bad one does not stop the others
            wanted = self._wanted(sent.type_url)
            for name in names:
                if name in wanted:
                    await self._send(sent.type_url, [wanted[name]], [])

    def _refuses_target(self) -> bool:
        """Whether Envoy refuses a part that others may hang on: on a listener nothing does."""
        for (type_url, name), refusal in self._refused.items():
            if type_url == LISTENERS:
                continue
            packed = self._wanted(type_url).get(name)
            if packed is not None and packed.version == refusal.version:
                return True
        return False

    def _wanted(self, type_url: str) -> Mapping[str, Packed]:
        return self._target.snapshot.of(type_url)

    def _changed(self, type_url: str) -> list[Packed]:
        """What Envoy wants of this type and does not hold in this version."""
        subscription = self._subscriptions.get(type_url, _Subscription())
        wanted = self._wanted(type_url)
        if type_url in WILDCARDS:
            return [packed for name, packed in wanted.items() if subscription.held.get(name) != packed.version]
        asked = (wanted[name] for name in subscription.names if name in wanted)
        return [packed for packed in asked if subscription.held.get(packed.name) != packed.version]

    def _gone(self, type_url: str) -> list[str]:
        wanted = self._wanted(type_url)
        return [name for name in self._subscriptions[type_url].held if name not in wanted]

    async def _send_asked(self, type_url: str, asked: Iterable[str], *, again: bool) -> None:
        """Answer for names. One that Envoy asks for on a stream that is under way is sent even if it holds it: the
        protocol says so, because it may have dropped it. On a new stream what it holds stays until its cluster goes."""
        wanted = self._wanted(type_url)
        held = self._subscriptions[type_url].held
        found = [wanted[name] for name in asked if name in wanted]
        if not again:
            kept = [packed.name for packed in found if held.get(packed.name) == packed.version]
            self._awaited.get(type_url, set()).difference_update(kept)
            found = [packed for packed in found if held.get(packed.name) != packed.version]
        missing = [name for name in asked if name not in wanted and (again or name not in held)]
        if found or missing:
            await self._send(type_url, found, missing)

    async def _send(self, type_url: str, changed: list[Packed], gone: list[str]) -> None:
        held = self._subscriptions[type_url].held
        self._nonce += 1
        nonce = str(self._nonce)
        self._await_parts(type_url, [packed.name for packed in changed])
        held.update((packed.name, packed.version) for packed in changed)
        part = self._subscriptions.get(PARTS.get(type_url, ""), _Subscription())
        for name in gone:
            held.pop(name, None)
            part.held.pop(name, None)  # Envoy drops it too, and asks again should the name come back
        self._open[nonce] = _Sent(type_url, frozenset(packed.name for packed in changed).union(gone))
        response = discovery_pb2.DeltaDiscoveryResponse(
            system_version_info=str(self._target.version),
            type_url=type_url,
            resources=[packed.message for packed in changed],
            removed_resources=gone,
            nonce=nonce,
        )
        await self.queue.put(response)

    def _await_parts(self, type_url: str, names: list[str]) -> None:
        """A new cluster is of use with its endpoints only, a new scope with its route table: Envoy asks for them."""
        part = PARTS.get(type_url)
        if part is not None:
            held = self._subscriptions[part].held if part in self._subscriptions else {}
            self._awaited[part].update(name for name in names if name not in held)

    def _is_subscribed(self) -> bool:
        """Whether Envoy has come as far as to ask for its routes and filters; its clusters come before those, and
        there is always a route table: the platform's."""
        filters = self._subscriptions.get(FILTERS, _Subscription())
        named = self._wanted(FILTERS).keys() <= filters.names
        return named and all(type_url in self._subscriptions for type_url in (CLUSTERS, SCOPES, ROUTES, LISTENERS))

    def _is_settled(self) -> bool:
        return not self._open and not any(self._awaited.values())

    def _unsettled(self) -> str:
        waiting = {type_url.rpartition(".")[2]: sorted(names)[:3] for type_url, names in self._awaited.items() if names}
        return f"{len(self._open)} responses open, parts not asked for: {waiting}"
