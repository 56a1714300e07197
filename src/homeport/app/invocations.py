"""Look at asynchronous calls, make one again, cancel one. Called by the API."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from homeport.app.calls import call_of, opened, seal_request
from homeport.app.context import Context
from homeport.app.resources import fetch
from homeport.core.errors import Conflict, Invalid, NotFound
from homeport.core.ids import Kind, new_id
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.invocations.handover import Message, Offer
from homeport.invocations.settings import call_settings
from homeport.invocations.states import InvocationStatus
from homeport.store.contract import Transaction
from homeport.store.invocation_records import (
    Callback,
    Invocation,
    InvocationAttempt,
    InvocationPage,
    InvocationQuery,
)

PAGE_LIMIT = 50
PAGE_LIMIT_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is asked for; texts as they came. `statuses` are separated by commas."""

    agent: str | None = None
    statuses: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: str | None = None
    limit: int = PAGE_LIMIT
    ascending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """All of one call. `response` is None where the program has not answered, or its answer was not the end."""

    call: Invocation
    attempts: Sequence[InvocationAttempt]
    callback: Callback | None
    request: Message
    response: Message | None


async def list_invocations(context: Context, principal: Principal, listing: Listing) -> InvocationPage:
    """Newest first unless asked otherwise. Raises `Invalid` naming the parameter."""
    require(principal, "agents:list")
    query = InvocationQuery(
        workspace=principal.workspace,
        limit=min(listing.limit, PAGE_LIMIT_MAX),
        agent=listing.agent or None,
        statuses=_statuses(listing.statuses or ""),
        since=listing.since,
        until=listing.until,
        after=_position(listing.after),
        ascending=listing.ascending,
    )
    return await context.store.read(lambda tx: tx.invocations.page(query))


def _statuses(text: str) -> frozenset[InvocationStatus]:
    asked = {word.strip().lower() for word in text.split(",")} - {""}
    known = [status.value for status in InvocationStatus]
    if unknown := sorted(asked - {*known}):
        raise Invalid("status", f"must be of {', '.join(known)}", value=unknown[0])
    return frozenset(InvocationStatus(word) for word in asked)


def _position(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise Invalid("after", "must be `next` of the page before", value=text)
    return int(text)


async def get_invocation(context: Context, principal: Principal, ident: str) -> Detail:
    """Raises `NotFound`, for another workspace's too."""
    require(principal, "agents:get")

    def read(
        tx: Transaction,
    ) -> tuple[Invocation, list[InvocationAttempt], Callback | None, bytes, bytes | None]:
        call = _mine(tx, principal, ident)
        stored = tx.invocations
        request = stored.requests([call.number])[call.number]
        return call, stored.attempts(call.number), stored.callback(call.number), request, stored.response(call.number)

    call, attempts, callback, request, response = await context.store.read(read)
    return Detail(
        call=call,
        attempts=attempts,
        callback=callback,
        request=opened(context, call, request),
        response=None if response is None else opened(context, call, response),
    )


def _mine(tx: Transaction, principal: Principal, ident: str) -> Invocation:
    call = tx.invocations.get(ident)
    if call is None or call.workspace != principal.workspace:
        raise NotFound(
            f"There is no asynchronous call {ident!r}.",
            hint="`homeport invocations list` shows those that are kept.",
        )
    return call


async def replay_invocation(context: Context, principal: Principal, ident: str) -> Invocation:
    """Make a call again, as a new one with the settings that its trigger has now. Raises `Conflict` while it has not
    ended, and `NotFound` where its agent is gone."""
    require(principal, "agents:get")
    require(principal, "agents:run")
    context.space.require()
    now = context.clock.now()
    call = await context.store.read(lambda tx: _mine(tx, principal, ident))
    if not call.status.terminal:
        raise Conflict(f"The call {ident!r} has not ended: it is {call.status}.", hint="Wait for it, or cancel it.")
    sealed = (await context.store.read(lambda tx: tx.invocations.requests([call.number])))[call.number]
    request = opened(context, call, sealed)
    offer = Offer(
        id=new_id("inv", 16),
        workspace=call.workspace,
        agent=call.agent,
        trigger=call.trigger,
        method=call.method,
        path=call.path,
        request=request,
    )
    anew = seal_request(context, offer.workspace, offer.id, request)

    def write(tx: Transaction) -> Invocation:
        agent = fetch(tx, call.workspace, Kind.AGENT, call.agent)
        if agent.deleting:
            raise Conflict(f"The agent {agent.name!r} is being deleted.")
        kept = offer if call_settings(agent.spec, offer.trigger) else replace(offer, trigger="")
        (new,) = tx.invocations.add([call_of(context, agent, kept, now, replay_of=call.id)], [anew])
        return new

    return await context.store.write(write)


async def cancel_invocation(context: Context, principal: Principal, ident: str) -> Invocation:
    """A call that waits ends at once; one under way is cut off within a second or two. Harmless when it has ended."""
    require(principal, "agents:update")
    now = context.clock.now()

    def write(tx: Transaction) -> Invocation:
        call = _mine(tx, principal, ident)
        if call.status.terminal or call.cancel_requested_at is not None:
            return call
        changed = replace(call, cancel_requested_at=now, updated_at=now)
        if call.status is InvocationStatus.QUEUED:
            changed = cancelled(changed, f"cancelled by {principal.sub}", now)
        tx.invocations.change([changed])
        return changed

    return await context.store.write(write)


def cancelled(call: Invocation, message: str, now: datetime) -> Invocation:
    return replace(
        call, status=InvocationStatus.CANCELLED, message=message, completed_at=now, updated_at=now, lease=None
    )
