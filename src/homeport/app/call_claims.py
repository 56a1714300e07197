"""Hand asynchronous calls and callbacks to the edge. One commit for many; may be repeated.

A lease names one life of the edge: whatever is under way in the name of another was cut off by its death, and what is
in the name of this one without its knowing of it never reached it. So nothing here needs a timer."""

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import datetime

from homeport.app.call_ends import HELD_BACK, apply_reports
from homeport.app.calls import SECRET, opened
from homeport.app.context import Context
from homeport.core.limits import MIB
from homeport.invocations.handover import (
    Claim,
    Errand,
    Portion,
    Report,
    Terms,
    Work,
)
from homeport.invocations.shares import Waiting, shares
from homeport.invocations.states import AttemptEnd, CallbackStatus, InvocationStatus
from homeport.sealing.keys import Place
from homeport.store.contract import Transaction
from homeport.store.invocation_records import Callback, Invocation, InvocationAttempt
from homeport.store.records import Resource

LOOK_S = 1.0  # so late, at the most, the edge hears of what it did not accept itself: replays, schedules, cancellations
NO_ANSWER = {AttemptEnd.TIMED_OUT: 504, AttemptEnd.UNREACHED: 503}  # the status that a callback tells; else 502


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
    if wait_s <= 0 and not calls and not errands:
        wait_s = LOOK_S  # what is due has no slot: the edge asks again when one is free
    return Portion(
        works=tuple(_work(context, call, request) for call, request in calls),
        errands=tuple(errands),
        cancelled=cancelled,
        next_in_s=min(max(wait_s, 0.0), LOOK_S),
        terms=terms_of(context),
    )


def terms_of(context: Context) -> Terms:
    settings = context.configuration.invocations
    return Terms(
        body_bytes=settings.body_mb * MIB,
        response_bytes=settings.answer_kb * 1024,
        parallel=settings.parallel,
        parallel_callbacks=settings.parallel_callbacks,
        allow=settings.callback_networks,
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
    if not claim.room:
        return {}
    waiting = [_held_back(context, one, now) for one in tx.invocations.queues(now, per_agent)]
    return shares(waiting, claim.room, per_agent)


def _held_back(context: Context, waiting: Waiting, now: datetime) -> Waiting:
    """An agent that cannot be reached is left alone for a while, and then asked with one call, however many wait."""
    until = context.held_back.get(waiting.agent_uid)
    if until is None:
        return waiting
    most = 0 if until > now else max(0, 1 - waiting.running)
    return replace(waiting, due=min(waiting.due, most))


def _dealt_to_serving(context: Context, tx: Transaction, claim: Claim, now: datetime) -> dict[str, int]:
    """As `_dealt`, nothing to agents that are disabled or on their way out: they must not keep the others waiting."""
    while True:
        dealt = _dealt(context, tx, claim, now)
        away = [uid for uid in dealt if not _serves(tx.resources.by_uid(uid))]
        if not away:
            return dealt
        context.held_back.update(dict.fromkeys(away, now + HELD_BACK))


def _serves(agent: Resource | None) -> bool:
    return agent is not None and not agent.deleting and agent.spec.get("enabled") is not False


def _claimed(
    context: Context, tx: Transaction, claim: Claim, now: datetime
) -> tuple[list[tuple[Invocation, bytes]], list[Errand]]:
    _release(context, tx, claim, now)
    if context.signals.paused or context.space.full:
        return [], []
    dealt = _dealt_to_serving(context, tx, claim, now)
    due = [call for uid, count in dealt.items() for call in tx.invocations.due(uid, count, now)]
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
    apply_reports(context, tx, [(call, report) for call, report in cut_off if call.lease != claim.lease], now)
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
