"""Accept asynchronous calls, and what their requests are sealed as.

Called by the edge on the internal socket (`homeport.invocations.handover`), and by whoever else makes calls: replays
and schedules. `homeport.app.call_claims` hands them out, `homeport.app.call_ends` writes down how they ended."""

from collections.abc import Sequence
from datetime import datetime

from homeport.app.context import Context
from homeport.core.ids import Kind
from homeport.invocations.handover import (
    Message,
    Offer,
    Verdict,
)
from homeport.invocations.settings import CallSettings, call_settings
from homeport.invocations.states import InvocationStatus
from homeport.sealing.keys import Place
from homeport.sealing.specs import Owner, open_callback_secret
from homeport.store.contract import Transaction
from homeport.store.invocation_records import Invocation
from homeport.store.records import Resource

SECRET = "callbackSecret"


async def accept_calls(context: Context, offers: Sequence[Offer]) -> list[Verdict]:
    """Store them, in one commit. Raises `DiskFull` and what else keeps the store from writing: then none is stored,
    unless an earlier sending of the same call was."""
    context.space.require()
    now = context.clock.now()
    sealed = {offer.id: seal_request(context, offer.workspace, offer.id, offer.request) for offer in offers}
    most = context.configuration.invocations.waiting

    def write(tx: Transaction) -> list[Verdict]:
        agents = {name: tx.resources.get(*name) for name in {_agent_of(offer) for offer in offers}}
        full = {found.uid for found in agents.values() if found and tx.invocations.waits_more_than(found.uid, most)}
        verdicts, calls = [], []
        for offer in offers:
            agent = agents[_agent_of(offer)]
            verdict = _verdict(agent, offer, full, most)
            verdicts.append(verdict)
            if agent is not None and verdict.status == 200:
                calls.append(call_of(context, agent, offer, now))
        tx.invocations.add(calls, [sealed[call.id] for call in calls])
        return verdicts

    return await context.store.write(write)


def _agent_of(offer: Offer) -> tuple[str, Kind, str]:
    return offer.workspace, Kind.AGENT, offer.agent


def _verdict(agent: Resource | None, offer: Offer, full: set[str], most: int) -> Verdict:
    if agent is None or agent.deleting or agent.spec.get("enabled") is False:
        return Verdict(status=404, reason=f"The agent {offer.agent!r} does not serve.")
    if call_settings(agent.spec, offer.trigger) is None:
        return Verdict(status=404, reason=f"The agent {offer.agent!r} has no trigger {offer.trigger!r}.")
    if agent.uid in full:
        return Verdict(status=429, reason=f"More than {most} calls of the agent {offer.agent!r} wait already.")
    return Verdict(status=200)


def call_of(context: Context, agent: Resource, offer: Offer, now: datetime, replay_of: str | None = None) -> Invocation:
    """The call as it is stored, with the settings that its trigger has now."""
    found = call_settings(agent.spec, offer.trigger) or CallSettings()
    return Invocation(
        id=offer.id,
        workspace=agent.workspace,
        agent=agent.name,
        agent_uid=agent.uid,
        trigger=found.trigger,
        method=offer.method,
        path=offer.path,
        status=InvocationStatus.QUEUED,
        retries=found.retries,
        timeout_s=found.timeout_s,
        not_before=now,
        created_at=now,
        updated_at=now,
        request_length=len(offer.request.body),
        replay_of=replay_of,
        callback_url=found.callback_url if found.secret else "",
        callback_secret=_secret_of(context, agent, found, offer.id),
    )


def _secret_of(context: Context, agent: Resource, found: CallSettings, ident: str) -> str | None:
    """The trigger's secret, sealed anew for the call: it signs the callback even when the trigger is gone by then."""
    if not found.callback_url or not found.secret:
        return None
    owner = Owner(agent.workspace, agent.uid)
    secret = open_callback_secret(context.sealing, agent.spec, found.trigger, owner)
    return context.sealing.seal(secret, Place(agent.workspace, ident, SECRET))


def seal_request(context: Context, workspace: str, ident: str, request: Message) -> bytes:
    return context.sealing.seal_bytes(request.packed(), body_place(workspace, ident))


def body_place(workspace: str, ident: str) -> Place:
    return Place(workspace, ident, "body")


def opened(context: Context, call: Invocation, sealed: bytes) -> Message:
    """A stored request or answer."""
    return Message.unpacked(context.sealing.open_bytes(sealed, body_place(call.workspace, call.id)))
