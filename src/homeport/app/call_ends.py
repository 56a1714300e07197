"""Write down how attempts at asynchronous calls and at callbacks ended, and tell what is odd. One commit for many; may
be repeated: what is not under way in the name of the lease any more changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from homeport.app.calls import body_place
from homeport.app.context import Context
from homeport.invocations.handover import (
    Delivery,
    Report,
)
from homeport.invocations.retry import AttemptResult, CallRule, NextCall, after_call, after_callback, may_repeat
from homeport.invocations.states import AttemptEnd, CallbackStatus, InvocationStatus
from homeport.jobs.retry import jitter_of
from homeport.store.contract import Transaction
from homeport.store.invocation_records import Callback, Invocation, InvocationAttempt
from homeport.store.records import Event
from homeport.workloads.states import WorkloadStatus

HELD_BACK = timedelta(seconds=5)  # an agent that no call reaches is not asked by all of its calls all the time
EVENT_PAUSE = timedelta(minutes=1)  # an agent that fails all the time must not push everything else out of its history


async def report_calls(context: Context, lease: str, reports: Sequence[Report]) -> None:
    """Write down how attempts ended. One that is not under way in the name of this lease any more changes nothing."""
    now = context.clock.now()

    def write(tx: Transaction) -> dict[str, AttemptEnd]:
        known = tx.invocations.by_ids([report.id for report in reports])
        held = {(call.id, call.attempts): call for call in known if _is_held(call, lease)}
        mine = [(call, report) for report in reports if (call := held.get((report.id, report.attempt))) is not None]
        apply_reports(context, tx, mine, now)
        return {call.agent_uid: report.end for call, report in mine}

    for uid, end in (await context.store.write(write)).items():
        if end is AttemptEnd.UNREACHED:
            context.held_back[uid] = now + HELD_BACK
        else:
            context.held_back.pop(uid, None)


def _is_held(call: Invocation, lease: str) -> bool:
    return call.status is InvocationStatus.RUNNING and call.lease == lease


@dataclass(frozen=True, slots=True, kw_only=True)
class _Applied:
    """A call after an attempt."""

    call: Invocation
    result: AttemptResult
    next: NextCall


def apply_reports(context: Context, tx: Transaction, ended: Sequence[tuple[Invocation, Report]], now: datetime) -> None:
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
