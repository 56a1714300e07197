"""What Prometheus is told: requests as Envoy counted them, what the store holds, what the parts counted.

Whoever may list a workspace's workloads sees that workspace. The administrator of the installation, an admin of the
first workspace, sees all of them, and what is of none: the gateway, the store, the disk, the components. Nothing here
is in the way of a request.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from homeport.app.administration import administers
from homeport.app.context import Context
from homeport.app.tallies import DURATIONS_S, Tallies
from homeport.core.errors import HomeportError
from homeport.core.ids import WORKLOADS, Kind
from homeport.core.measures import REGISTRY
from homeport.dataplane.admin import edge_counts, envoy_counts
from homeport.dataplane.statistics import admin_query, relabelled
from homeport.identity.principals import Principal
from homeport.identity.roles import require
from homeport.store.contract import Transaction
from homeport.workloads.states import RevisionState

FRESH_S = 1.0  # a second scraper within it is told the same


async def read_metrics(context: Context, principal: Principal) -> bytes:
    """In Prometheus' text form. Raises `Denied` without the right to see the workspace's workloads."""
    for kind in WORKLOADS:
        require(principal, f"{kind.plural}:list")
    workspace = None if administers(context, principal) else principal.workspace
    scrapes = context.scrapes
    async with scrapes.turn:  # one at a time, however many ask
        now = context.clock.monotonic()
        told_at, text = scrapes.told.get(workspace, (now - 2 * FRESH_S, b""))
        if now - told_at > FRESH_S:
            text = await _gather(context, workspace)
            scrapes.told = {known: told for known, told in scrapes.told.items() if now - told[0] < FRESH_S}
            scrapes.told[workspace] = (now, text)
        return text


async def _gather(context: Context, workspace: str | None) -> bytes:
    found = await context.store.read(partial(_read, context.tallies, context.clock.now(), workspace))
    shown = await envoy_counts(context.data.socket("envoy-admin"), admin_query(workspace))
    edge = await edge_counts(context.data.socket("edge"))
    families = [*_of_store(found), *_of_tallies(context.tallies, workspace), *_of_edge(edge, workspace)]
    families += _of_process(workspace)
    if workspace is None:
        families += await _of_installation(context, envoy=shown is not None, edge=edge is not None)
        families += _of_calls(found.calls)
    return await asyncio.to_thread(_rendered, families, shown or "", workspace is None)


def _rendered(families: list[Metric], shown: str, gateway: bool) -> bytes:
    """In a thread: it is computing only."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families))
    return generate_latest(registry) + relabelled(shown, gateway=gateway).encode()


class _Collected:
    """Families as a collector, which is what the library writes out."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


@dataclass(slots=True)
class _Found:
    """What the store holds now, counted by labels."""

    replicas: Counter[tuple[str, ...]] = field(default_factory=Counter)
    restarts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    workloads: Counter[tuple[str, ...]] = field(default_factory=Counter)
    builds: Counter[tuple[str, ...]] = field(default_factory=Counter)
    executions: Counter[tuple[str, ...]] = field(default_factory=Counter)
    tasks: Counter[tuple[str, ...]] = field(default_factory=Counter)
    calls: tuple[int, int] = (0, 0)


def _read(tallies: Tallies, now: datetime, workspace: str | None, tx: Transaction) -> _Found:
    tallies.follow(tx, now)
    found = _Found()
    for replica in tx.replicas.every():
        resource = tx.resources.by_uid(replica.resource_uid)
        if resource is None or workspace not in (None, resource.workspace):
            continue
        whose = (resource.workspace, resource.kind.value, resource.name, replica.revision_id)
        found.replicas[*whose, replica.state.value] += 1
        found.restarts[whose] += replica.restarts
    names = [one.name for one in tx.identities.workspaces()] if workspace is None else [workspace]
    for name in names:
        for kind in Kind:
            found.workloads[name, kind.value] = tx.resources.count(name, kind)
    for revision in tx.revisions.in_states([RevisionState.UPLOADING, RevisionState.BUILDING]):
        if workspace in (None, revision.workspace):
            found.builds[revision.workspace, revision.state.value] += 1
    for execution in tx.executions.unfinished():
        if workspace in (None, execution.workspace):
            found.executions[execution.workspace, execution.job, execution.status.value] += 1
            for state, count in (("pending", execution.pending), ("running", execution.running)):
                found.tasks[execution.workspace, execution.job, state] += count
    if workspace is None:
        found.calls = tx.invocations.count_open()
    return found


_WHOSE = ("workspace", "kind", "name", "revision")


def _of_store(found: _Found) -> Iterator[Metric]:
    job = ("workspace", "job")
    yield _gauge("homeport_replicas", "Replicas, by state.", (*_WHOSE, "state"), found.replicas)
    yield _gauge("homeport_replica_restarts", "Restarts of the replicas that there are.", _WHOSE, found.restarts)
    yield _gauge("homeport_resources", "Resources, by kind.", ("workspace", "kind"), found.workloads)
    yield _gauge(
        "homeport_builds", "Revisions that wait for their source or a build.", ("workspace", "state"), found.builds
    )
    yield _gauge("homeport_executions", "Executions that have not ended.", (*job, "status"), found.executions)
    yield _gauge("homeport_tasks", "Tasks of those: the queue, and what runs.", (*job, "state"), found.tasks)


def _gauge(name: str, told: str, labels: tuple[str, ...], counts: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, told, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _of_tallies(tallies: Tallies, workspace: str | None) -> Iterator[Metric]:
    labels = ("workspace", "kind", "reason")
    told = "Events, by reason: Accepted, Built, BuildFailed, Serving, ReplicaEnded and others."
    yield _counter("homeport_events", told, labels, tallies.events, workspace)
    status = ("workspace", "status")
    yield _counter("homeport_executions_ended", "Executions that ended.", status, tallies.executions, workspace)
    told = "Tasks of executions that ended; attempts of theirs that were retried or lost."
    yield _counter("homeport_tasks_ended", told, status, tallies.tasks, workspace)
    told = "From an execution's first task to its end."
    durations = HistogramMetricFamily("homeport_execution_duration_seconds", told, labels=("workspace",))
    for name, one in tallies.durations.items():
        if workspace in (None, name):
            below, buckets = 0, []
            for bound, count in zip((*map(str, DURATIONS_S), "+Inf"), one.counts, strict=True):
                below += count
                buckets.append((bound, float(below)))
            durations.add_metric((name,), buckets, one.total_s)
    yield durations


def _counter(
    name: str, told: str, labels: tuple[str, ...], counts: Mapping[Any, float], workspace: str | None
) -> Metric:
    family = CounterMetricFamily(name, told, labels=labels)
    for values, count in counts.items():
        if workspace in (None, values[0]):
            family.add_metric(values, count)
    return family


def _of_edge(text: str | None, workspace: str | None) -> list[Metric]:
    return _visible(text_string_to_metric_families(text or ""), workspace)


def _of_process(workspace: str | None) -> list[Metric]:
    return _visible(REGISTRY.collect(), workspace)


def _visible(families: Iterable[Metric], workspace: str | None) -> list[Metric]:
    """Without what is of another workspace, or of none. When each was made is of no use to anybody."""
    found = []
    for family in families:
        samples = [one for one in family.samples if not one.name.endswith("_created")]
        family.samples = [one for one in samples if workspace in (None, one.labels.get("workspace"))]
        if family.samples:
            found.append(family)
    return found


def _of_calls(calls: tuple[int, int]) -> Iterator[Metric]:
    told = "Asynchronous calls that have not ended."
    yield _gauge("homeport_invocations", told, ("state",), {("queued",): calls[0], ("running",): calls[1]})


async def _of_installation(context: Context, *, envoy: bool, edge: bool) -> list[Metric]:
    up = {("server",): 1, ("envoy",): int(envoy), ("edge",): int(edge)}
    for driver in context.drivers.values():
        try:
            await driver.info()
            up[f"driver {driver.name}",] = 1
        except HomeportError:
            up[f"driver {driver.name}",] = 0
    disk = shutil.disk_usage(context.data.root)
    size = sum(path.stat().st_size for path in context.data.root.glob(f"{context.data.database.name}*"))
    return [
        _gauge("homeport_component_up", "1 where it answers.", ("component",), up),
        _gauge("homeport_disk_free_bytes", "Of the disk that holds the data.", (), {(): disk.free}),
        _gauge("homeport_disk_bytes", "Its size.", (), {(): disk.total}),
        _gauge("homeport_disk_full", "1 while nothing new is accepted.", (), {(): int(context.space.full is not None)}),
        _gauge("homeport_store_bytes", "The database with its log.", (), {(): size}),
        _gauge("homeport_store_failing", "1 while it cannot write.", (), {(): int(context.store.failure is not None)}),
    ]
