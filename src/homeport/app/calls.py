"""The server's side of asynchronous calls: accept them, hand them to the edge, write down how they ended.

Called by the edge on the internal socket (`homeport.invocations.handover`). Each is one commit for many calls, and may
be repeated. A lease names one life of the edge: whatever is under way in the name of another was cut off by its death,
and what is in the name of this one without its knowing of it never reached it. So nothing here needs a timer.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from homeport.app.context import Context
from homeport.core.ids import Kind
from homeport.core.limits import MIB
from homeport.invocations.handover import (
    Claim,
    Delivery,
    Errand,
    Message,
    Offer,
    Portion,
    Report,
    Terms,
    Verdict,
    Work,
)
from homeport.invocations.retry import AttemptResult, CallRule, NextCall, after_call, after_callback, may_repeat
from homeport.invocations.settings import CallSettings, call_settings
from homeport.invocations.shares import shares
from homeport.invocations.states import AttemptEnd, CallbackStatus, InvocationStatus
from homeport.jobs.retry import jitter_of
from homeport.sealing.keys import Place
from homeport.sealing.specs import Owner, open_callback_secret
from homeport.store.contract import Transaction
from homeport.store.invocation_records import Callback, Invocation, InvocationAttempt
from homeport.store.records import Event, Resource
from homeport.workloads.states import WorkloadStatus

LOOK_S = 1.0  # so late, at the most, the edge hears of what it did not accept itself: replays, schedules, cancellations
EVENT_PAUSE = timedelta(minutes=1)  # an agent that fails all the time must not push everything else out of its history
NO_ANSWER = {AttemptEnd.TIMED_OUT: 504, AttemptEnd.UNREACHED: 503}  # the status that a callback tells; else 502
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


def terms_of(context: Context) -> Terms:
    settings = context.configuration.invocations
    return Terms(
        body_bytes=settings.body_mb * MIB,
        response_bytes=settings.answer_kb * 1024,
        parallel=settings.parallel,
        parallel_callbacks=settings.parallel_callbacks,
        allow=settings.callback_networks,
    )


async def claim_calls(context: Context, claim: Claim) -> Portion:
    """What the edge shall do now. While the system is about to stop, nothing new begins."""
    now = context.clock.now()
    if not await context.store.read(lambda tx: _is_work(context, tx, claim, now)):
        calls: list[tuple[Invocation, bytes]] = []
        errands: list[Errand] = []
    else:
        calls, errands = await context.store.write(lambda tx: _claimed(context, tx, claim, now))
    cancelled, next_at = await context.store.read(lambda tx: _outlook(tx, claim))
    wait_s = LOOK_S if next_at is None else (next_at - now).total_seconds()
    return Portion(
        works=tuple(_work(context, call, request) for call, request in calls),
        errands=tuple(errands),
        cancelled=cancelled,
        next_in_s=min(max(wait_s, 0.0), LOOK_S),
        terms=terms_of(context),
    )


def _is_work(context: Context, tx: Transaction, claim: Claim, now: datetime) -> bool:
    """Looked up first, because reading disturbs nobody."""
    if _lost(tx, claim):
        return True
    if any(_is_stray(tx, callback, claim) for callback in tx.invocations.sending()):
        return True
    if context.signals.paused:
        return False
    return bool(_dealt(context, tx, claim, now)) or bool(claim.callback_room and tx.invocations.due_callbacks(1, now))


def _dealt(context: Context, tx: Transaction, claim: Claim, now: datetime) -> dict[str, int]:
    per_agent = context.configuration.invocations.parallel_per_agent
    return shares(tx.invocations.queues(now, per_agent), claim.room, per_agent) if claim.room else {}


def _claimed(
    context: Context, tx: Transaction, claim: Claim, now: datetime
) -> tuple[list[tuple[Invocation, bytes]], list[Errand]]:
    _release(context, tx, claim, now)
    if context.signals.paused or context.space.full:
        return [], []
    due = []
    for uid, count in _dealt(context, tx, claim, now).items():
        if (agent := tx.resources.by_uid(uid)) is not None and not agent.deleting:
            due += [] if agent.spec.get("enabled") is False else tx.invocations.due(uid, count, now)
    begun = [_begun(call, claim.lease, now) for call in due]
    tx.invocations.change(begun)
    tx.invocations.add_attempts(
        [
            InvocationAttempt(invocation=call.number, number=call.attempts, end=AttemptEnd.RUNNING, started_at=now)
            for call in begun
        ]
    )
    requests = tx.invocations.requests([call.number for call in begun])
    return [(call, requests[call.number]) for call in begun], _errands(context, tx, claim, now)


def _begun(call: Invocation, lease: str, now: datetime) -> Invocation:
    return replace(
        call,
        status=InvocationStatus.RUNNING,
        attempts=call.attempts + 1,
        lease=lease,
        started_at=call.started_at or now,
        updated_at=now,
    )


def _lost(tx: Transaction, claim: Claim) -> list[int]:
    """The numbers of calls that no living edge has in hand."""
    holding = set(claim.holding)
    under_way = tx.invocations.under_way()
    return [one.number for one in under_way if one.lease != claim.lease or one.id not in holding]


def _is_stray(tx: Transaction, callback: Callback, claim: Claim) -> bool:
    if callback.lease != claim.lease:
        return True
    call = tx.invocations.numbered([callback.invocation])[callback.invocation]
    return call.id not in claim.delivering


def _release(context: Context, tx: Transaction, claim: Claim, now: datetime) -> None:
    """Take back what no living edge has in hand."""
    numbers = _lost(tx, claim)
    lost = [*tx.invocations.numbered(numbers).values()] if numbers else []
    unheard = [call for call in lost if call.lease == claim.lease]
    tx.invocations.drop_attempts([(call.number, call.attempts) for call in unheard])
    tx.invocations.change(
        [
            replace(call, status=InvocationStatus.QUEUED, attempts=call.attempts - 1, lease=None, updated_at=now)
            for call in unheard
        ]
    )
    cut_off = [(call, Report(id=call.id, attempt=call.attempts, end=AttemptEnd.INTERRUPTED)) for call in lost]
    _apply(context, tx, [(call, report) for call, report in cut_off if call.lease != claim.lease], now)
    strays = [callback for callback in tx.invocations.sending() if _is_stray(tx, callback, claim)]
    tx.invocations.change_callbacks(
        [replace(one, status=CallbackStatus.WAITING, lease=None, updated_at=now) for one in strays]
    )


def _outlook(tx: Transaction, claim: Claim) -> tuple[tuple[str, ...], datetime | None]:
    held = (one for one in tx.invocations.under_way() if one.lease == claim.lease)
    cancelled = tuple(one.id for one in held if one.cancelling)
    return cancelled, tx.invocations.next_at() if claim.room and claim.callback_room else None


def _work(context: Context, call: Invocation, request: bytes) -> Work:
    return Work(
        id=call.id,
        attempt=call.attempts,
        timeout_s=call.timeout_s,
        workspace=call.workspace,
        agent=call.agent,
        method=call.method,
        path=call.path,
        request=opened(context, call, request),
    )


async def report_calls(context: Context, lease: str, reports: Sequence[Report]) -> None:
    """Write down how attempts ended. One that is not under way in the name of this lease any more changes nothing."""
    now = context.clock.now()

    def write(tx: Transaction) -> None:
        known = tx.invocations.by_ids([report.id for report in reports])
        held = {(call.id, call.attempts): call for call in known if _is_held(call, lease)}
        mine = [(call, report) for report in reports if (call := held.get((report.id, report.attempt))) is not None]
        _apply(context, tx, mine, now)

    await context.store.write(write)


def _is_held(call: Invocation, lease: str) -> bool:
    return call.status is InvocationStatus.RUNNING and call.lease == lease


@dataclass(frozen=True, slots=True, kw_only=True)
class _Applied:
    """A call after an attempt."""

    call: Invocation
    result: AttemptResult
    next: NextCall


def _apply(context: Context, tx: Transaction, ended: Sequence[tuple[Invocation, Report]], now: datetime) -> None:
    applied = [_after(context, call, report, now) for call, report in ended]
    tx.invocations.change([one.call for one in applied])
    unreached = [one for one in applied if one.result.end is AttemptEnd.UNREACHED]
    tx.invocations.drop_attempts([(one.call.number, one.call.attempts + 1) for one in unreached])
    tx.invocations.end_attempts(
        [
            InvocationAttempt(
                invocation=one.call.number,
                number=one.call.attempts,
                end=one.result.end,
                started_at=now,  # not written
                ended_at=now,
                status=one.result.status,
                reason=one.result.reason,
            )
            for one in applied
            if one.result.end is not AttemptEnd.UNREACHED
        ]
    )
    answers = {call.number: report.answer for call, report in ended if report.answer is not None}
    sealed = {
        one.call.number: context.sealing.seal_bytes(
            answers[one.call.number].packed(), body_place(one.call.workspace, one.call.id)
        )
        for one in applied
        if one.call.number in answers
    }
    tx.invocations.set_responses(sealed)
    tx.invocations.add_callbacks([callback_of(one.call, now) for one in applied if wants_callback(one.call)])
    _tell_given_up(tx, [one for one in applied if _is_given_up(one)], now)


def _after(context: Context, call: Invocation, report: Report, now: datetime) -> _Applied:
    end = report.end
    if context.signals.paused and end in (AttemptEnd.BROKEN, AttemptEnd.UNREACHED, AttemptEnd.INTERRUPTED):
        end = AttemptEnd.STOPPED  # the gateway went first
    elif call.cancel_requested_at is not None and end is not AttemptEnd.ANSWERED:
        end = AttemptEnd.CANCELLED
    result = AttemptResult(end=end, status=report.status if end is AttemptEnd.ANSWERED else None, reason=report.reason)
    wait_s = context.configuration.invocations.wait_hours * 3600
    rule = CallRule(retries=call.retries, timeout_s=call.timeout_s, wait_s=wait_s)
    then = after_call(result, call.counted, rule, call.created_at, now, jitter_of(f"{call.id}-{call.attempts}"))
    if call.cancel_requested_at is not None and not then.status.terminal:
        then = replace(then, status=InvocationStatus.CANCELLED, not_before=None)
    ended = replace(
        call,
        status=then.status,
        attempts=call.attempts - (end is AttemptEnd.UNREACHED),
        counted=call.counted + then.counts,
        not_before=then.not_before or call.not_before,
        lease=None,
        message=then.message,
        updated_at=now,
        completed_at=now if then.status.terminal else None,
        response_status=result.status if result.status is not None else call.response_status,
        response_length=report.length if result.status is not None else call.response_length,
    )
    if then.status.terminal and result.status is None:  # what an earlier attempt was answered is not the result
        ended = replace(ended, response_status=None, response_length=None)
    return _Applied(call=ended, result=result, next=then)


def wants_callback(call: Invocation) -> bool:
    return bool(call.callback_url) and call.status in (InvocationStatus.SUCCEEDED, InvocationStatus.FAILED)


def callback_of(call: Invocation, now: datetime) -> Callback:
    return Callback(invocation=call.number, status=CallbackStatus.WAITING, not_before=now, updated_at=now)


def _is_given_up(one: _Applied) -> bool:
    return one.next.status is InvocationStatus.FAILED and may_repeat(one.result)


def _tell_given_up(tx: Transaction, given_up: Sequence[_Applied], now: datetime) -> None:
    for uid in {one.call.agent_uid for one in given_up}:
        mine = [one.call for one in given_up if one.call.agent_uid == uid]
        more = f" (and {len(mine) - 1} more)" if len(mine) > 1 else ""
        text = f"Asynchronous call {mine[0].id} was given up{more}: {mine[0].message}"
        tell(tx, uid, "InvocationGivenUp", text, now)


def tell(tx: Transaction, uid: str, reason: str, message: str, now: datetime) -> None:
    """An event of the agent, unless it had one for the same reason a moment ago."""
    agent = tx.resources.by_uid(uid)
    newest = next((event for event in reversed(tx.events.of(uid)) if event.reason == reason), None)
    if agent is None or (newest is not None and now - newest.time < EVENT_PAUSE):
        return
    tx.events.add(
        Event(
            resource_uid=uid,
            time=now,
            type="invocation",
            status=agent.status or WorkloadStatus.DEPLOYED,
            message=message,
            reason=reason,
            revision="",
        )
    )


def _errands(context: Context, tx: Transaction, claim: Claim, now: datetime) -> list[Errand]:
    """Callbacks that begin now."""
    due = tx.invocations.due_callbacks(claim.callback_room, now) if claim.callback_room else []
    begun = [
        replace(one, status=CallbackStatus.SENDING, attempts=one.attempts + 1, lease=claim.lease, updated_at=now)
        for one in due
    ]
    tx.invocations.change_callbacks(begun)
    calls = tx.invocations.numbered([one.invocation for one in begun])
    return [_errand(context, calls[one.invocation], one, tx.invocations.response(one.invocation)) for one in begun]


def _errand(context: Context, call: Invocation, callback: Callback, response: bytes | None) -> Errand:
    body = json.dumps(_result(context, call, response))
    secret = context.sealing.open(call.callback_secret or "", Place(call.workspace, call.id, SECRET))
    mac = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
    return Errand(id=call.id, attempt=callback.attempts, url=call.callback_url, body=body, signature=f"sha256={mac}")


def _result(context: Context, call: Invocation, response: bytes | None) -> dict[str, object]:
    """The contract's body. Where no answer came, its status is the gateway's and its body says why."""
    moment = int((call.completed_at or call.updated_at).timestamp())
    if call.response_status is None or response is None:
        timed_out = call.message.startswith("timed out")
        unreached = call.message.startswith("no replica")
        status = NO_ANSWER[AttemptEnd.TIMED_OUT] if timed_out else NO_ANSWER[AttemptEnd.UNREACHED] if unreached else 502
        return {
            "status_code": status,
            "response_body": call.message,
            "response_length": len(call.message.encode()),
            "timestamp": moment,
        }
    return {
        "status_code": call.response_status,
        "response_body": opened(context, call, response).body.decode(errors="replace"),
        "response_length": call.response_length,
        "timestamp": moment,
    }


async def note_deliveries(context: Context, lease: str, deliveries: Sequence[Delivery]) -> None:
    """Write down how attempts at callbacks ended."""
    now = context.clock.now()

    def write(tx: Transaction) -> None:
        sending = {one.invocation: one for one in tx.invocations.sending() if one.lease == lease}
        calls = tx.invocations.numbered([*sending])
        by_id = {calls[number].id: (calls[number], one) for number, one in sending.items()}
        for delivery in deliveries:
            call, callback = by_id.get(delivery.id, (None, None))
            if call is not None and callback is not None and callback.attempts == delivery.attempt:
                _note_delivery(tx, call, callback, delivery, now)

    await context.store.write(write)


def _note_delivery(tx: Transaction, call: Invocation, callback: Callback, delivery: Delivery, now: datetime) -> None:
    jitter = jitter_of(f"{call.id}-callback-{callback.attempts}")
    then = after_callback(delivery.status, delivery.reason, callback.attempts, now, jitter)
    changed = replace(
        callback,
        status=then.status,
        not_before=then.not_before or callback.not_before,
        lease=None,
        answer=delivery.status,
        message=then.message,
        updated_at=now,
    )
    tx.invocations.change_callbacks([changed])
    if then.status is CallbackStatus.FAILED:
        text = f"The callback of call {call.id} was given up after {callback.attempts} attempts: {then.message}"
        tell(tx, call.agent_uid, "CallbackGivenUp", text, now)
