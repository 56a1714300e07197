"""The beginning of the end of a workload or a volume, whoever asks: a caller, or a job's own expiry. Their loops do the
rest."""

from dataclasses import replace
from datetime import datetime

from homeport.store.contract import Transaction
from homeport.store.records import Event, Resource
from homeport.workloads.states import WorkloadStatus


def begin_deletion(tx: Transaction, stored: Resource, now: datetime, *, by: str, message: str, reason: str) -> Resource:
    """Mark a workload that exists as going away, and return it so. Nothing is ended yet."""
    going = mark_deleting(tx, stored, now, by)
    tx.events.add(
        Event(
            resource_uid=going.uid,
            time=now,
            type="deployment",
            status=WorkloadStatus.DELETING,
            message=message,
            reason=reason,
        )
    )
    return going


def mark_deleting(tx: Transaction, stored: Resource, now: datetime, by: str) -> Resource:
    """The same without an event."""
    going = replace(
        stored,
        deleting=True,
        status=WorkloadStatus.DELETING,
        generation=stored.generation + 1,
        updated_at=now,
        updated_by=by,
    )
    tx.resources.replace(going, stored.generation)
    return going
