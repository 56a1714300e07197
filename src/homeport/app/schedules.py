"""Agents that call themselves: the schedules of their triggers are kept beside them, and fire into the queue of
asynchronous calls. A firing and the note that it is decided are one commit: none is doubled or lost by a restart."""

import logging
from dataclasses import replace
from datetime import datetime

from homeport.app.call_ends import tell
from homeport.app.calls import call_of, seal_request
from homeport.app.context import Context
from homeport.core.clock import timestamp
from homeport.core.ids import Kind, new_id
from homeport.core.schedule import due_firing, next_firing
from homeport.invocations.handover import Offer
from homeport.invocations.schedules import Scheduled, request_of, scheduled
from homeport.store.contract import Transaction
from homeport.store.invocation_records import Schedule
from homeport.store.records import Resource

log = logging.getLogger(__name__)

AT_ONCE = 50  # schedules of one commit


def keep_schedules(tx: Transaction, agent: Resource, now: datetime) -> None:
    """Write down the schedules that the agent has now. One that it had before, with the same expression, goes on; a new
    one fires from now on."""
    before = {(one.trigger, one.expression): one for one in tx.schedules.of(agent.uid)}
    wanted = {(one.trigger, one.expression) for one in scheduled(agent.spec)}
    if before.keys() == wanted:
        return
    kept = [
        before.get((trigger, expression))
        or Schedule(
            resource_uid=agent.uid,
            trigger=trigger,
            expression=expression,
            checked_at=now,
            next_at=next_firing(expression, now),
        )
        for trigger, expression in sorted(wanted)
    ]
    tx.schedules.set(agent.uid, kept)


async def fire_schedules(context: Context) -> datetime | None:
    """Queue what is due; when the next one is. While the disk is full or the system is about to stop nothing fires: it
    is decided later, and the rule for missed firings holds."""
    now = context.clock.now()
    if not context.space.full and not context.signals.paused:
        while await context.store.read(lambda tx: bool(tx.schedules.due(now, 1))):
            await context.store.write(lambda tx: _fire(context, tx, now))
    return await context.store.read(lambda tx: tx.schedules.next_at())


def _fire(context: Context, tx: Transaction, now: datetime) -> None:
    for schedule in tx.schedules.due(now, AT_ONCE):
        firing = due_firing(schedule.expression, schedule.checked_at, now)
        tx.schedules.check(replace(schedule, checked_at=now, next_at=firing.next_at))
        agent = tx.resources.by_uid(schedule.resource_uid)
        found = next((one for one in scheduled(agent.spec) if one.trigger == schedule.trigger), None) if agent else None
        if agent is None or agent.deleting or found is None:
            continue
        if firing.skipped:
            text = f"The schedule {schedule.trigger} missed {firing.skipped} firings up to {timestamp(now)}"
            tell(tx, agent.uid, "FiringsMissed", text, now)
        if firing.at is not None:
            _queue(context, tx, agent, found, firing.at, now)


def _queue(
    context: Context, tx: Transaction, agent: Resource, found: Scheduled, due_at: datetime, now: datetime
) -> None:
    offers = [
        Offer(
            id=new_id("inv", 16),
            workspace=agent.workspace,
            agent=agent.name,
            trigger=found.trigger,
            method="POST",
            path="/",
            request=request_of(found.trigger, timestamp(due_at), body),
        )
        for body in found.bodies
    ]
    calls = [call_of(context, agent, offer, now) for offer in offers]
    sealed = [seal_request(context, agent.workspace, offer.id, offer.request) for offer in offers]
    tx.invocations.add(calls, sealed)
    log.info("agent %s/%s: its schedule %s fired", agent.workspace, agent.name, found.trigger)


async def find_schedules(context: Context) -> None:
    """At the start: keep those of agents that an earlier version stored, which had no schedules."""
    if await context.store.read(lambda tx: tx.note(_NOTE)) is not None:
        return
    now = context.clock.now()

    def write(tx: Transaction) -> None:
        for agent in tx.resources.with_setting(Kind.AGENT, ["schedule"]):
            try:
                keep_schedules(tx, agent, now)
            except Exception:  # stored before the field had a meaning: one such agent must not keep the server away
                log.exception("the schedules of agent %s/%s are not kept", agent.workspace, agent.name)
        tx.set_note(_NOTE, timestamp(now))

    await context.store.write(write)


_NOTE = "schedules-kept"
