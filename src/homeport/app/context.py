"""What every use case needs, in one value. Built by `homeport.server`, passed down, never reached for."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homeport.app.tallies import Scrapes, Tallies
from homeport.configuration import Configuration
from homeport.core.clock import Clock
from homeport.core.ids import DEFAULT_WORKSPACE, ExecutionId
from homeport.core.service import Signals
from homeport.core.space import Space
from homeport.drivers.contract import Driver
from homeport.identity.keys import KeyRing
from homeport.policy.inventory import Region
from homeport.reconcile.signing import SigningKeys
from homeport.sealing.keys import SealingKeys
from homeport.settings import DataDir
from homeport.store.contract import Store


async def _no_gateway() -> bool:
    """Where there is none, nothing need be told to it."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """`drivers` by the name that a region's configuration gives. `base_url` is where clients reach the gateway.
    `configuration` is the operator's, defaults where they say nothing. `verifying` is held by whoever replays an
    execution's history. `staging` are the executions that are being accepted now: any other that is invisible was
    abandoned. `space` tells when the disk is full. `tell_gateway` hands the gateway the present signing keys, and is
    True once it has them; `rotating` is held by whoever changes them. `tallies` and `scrapes`
    are of whoever asks for metrics. The admins of `first_workspace` administer the installation."""

    store: Store
    clock: Clock
    keys: KeyRing
    sealing: SealingKeys
    data: DataDir
    regions: Sequence[Region]
    drivers: Mapping[str, Driver]
    signals: Signals
    base_url: str
    first_workspace: str = DEFAULT_WORKSPACE
    staging: set[ExecutionId] = field(default_factory=set)
    configuration: Configuration = field(default_factory=Configuration)
    verifying: asyncio.Lock = field(default_factory=asyncio.Lock)
    space: Space = field(default_factory=Space.unwatched)
    held_back: dict[str, datetime] = field(default_factory=dict)
    tell_gateway: Callable[[], Awaitable[bool]] = _no_gateway
    rotating: asyncio.Lock = field(default_factory=asyncio.Lock)
    tallies: Tallies = field(default_factory=Tallies)
    scrapes: Scrapes = field(default_factory=Scrapes)

    @property
    def signing(self) -> SigningKeys:
        """The signing keys and what may happen to them."""
        return SigningKeys(
            store=self.store,
            clock=self.clock,
            ring=self.keys,
            data=self.data,
            tell_gateway=self.tell_gateway,
            turn=self.rotating,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a caller wants a resource to be: the writable part of the contract's envelope."""

    name: str
    display_name: str | None = None
    external_id: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
