"""What must never be, looked for at every start, end, commit and publication of a run. The node's own record of what
ran is held against the store's rows. `ending` has what must be true once a run has come to rest."""

import asyncio
import sqlite3
from collections import Counter
from dataclasses import dataclass, field

from homeport.core.ids import UnitId
from homeport.core.units import Outcome, UnitKind, UnitSpec
from homeport.dataplane.routes import Gateway
from homeport.testing.simulation.machine import Machine
from homeport.testing.simulation.node import SimulatedNode
from homeport.testing.simulation.store import MemoryStore
from homeport.workloads.rollout import restart_wait_s

_ATTEMPT = """
SELECT executions.parallelism, executions.max_retries, executions.status, attempts.state FROM executions
LEFT JOIN attempts ON attempts.execution = executions.number AND attempts."index" = ? AND attempts.number = ?
WHERE executions.id = ?
"""
_EXECUTIONS = """
SELECT id, status, parallelism, running, total - pending - running - succeeded - failed - cancelled
FROM executions WHERE visible
"""
_DOUBLE_SLOTS = """
SELECT revision_id, ordinal FROM replicas WHERE state <> 'draining' GROUP BY revision_id, ordinal HAVING count(*) > 1
"""
_STANDS = "SELECT 1 FROM replicas WHERE id = ?"
_DOUBLE_PORTS = "SELECT port FROM replicas GROUP BY port HAVING count(*) > 1"
_TERMINAL = ("succeeded", "failed", "timeout", "cancelled")
_OPEN = (0, 1)  # the codes of attempts that have not ended


@dataclass(slots=True, kw_only=True)
class Seen:
    """A unit, as the node knows it. `stopping`: somebody asked it to end."""

    spec: UnitSpec
    started_at: float
    ended_at: float | None = None
    outcome: Outcome | None = None
    stopping: bool = False

    @property
    def vanished(self) -> bool:
        return self.ended_at is not None and self.outcome is None

    @property
    def interrupted(self) -> bool:
        return self.outcome is not None and self.outcome.stopped


@dataclass(slots=True, kw_only=True)
class Checks:
    """A `Watcher` of the node, which also sees each commit and each published picture. `blows` counts what befell a
    revision's units: it is given up after some of them, whatever its program is worth."""

    machine: Machine
    store: MemoryStore
    node: SimulatedNode
    slots: int
    units: dict[UnitId, Seen] = field(default_factory=dict)
    terminal: dict[str, str] = field(default_factory=dict)
    blows: Counter[str] = field(default_factory=Counter)
    picture: Gateway | None = None
    acts: int = 0
    """Of the loops towards node and gateway, for whoever waits until there are none."""

    # What the node does

    def started(self, spec: UnitSpec) -> None:
        self.acts += 1
        before = self.units.get(spec.id)
        if before is not None and not before.vanished:
            self.machine.violated(f"{spec.id} is started a second time")
        if spec.kind is UnitKind.TASK:
            self._task_starts(spec)
        else:
            self._replica_starts(spec)
        self.units[spec.id] = Seen(spec=spec, started_at=self._now())

    def ended(self, spec: UnitSpec, outcome: Outcome | None) -> None:
        seen = self.units[spec.id]
        seen.ended_at, seen.outcome = self._now(), outcome
        if outcome is None or not outcome.stopped:
            self.blows[spec.labels["revision"]] += 1

    def refused(self, spec: UnitSpec) -> None:
        self.blows[spec.labels["revision"]] += 1

    def stopping(self, spec: UnitSpec) -> None:
        self.acts += 1
        seen = self.units[spec.id]
        orphan = spec.kind is not UnitKind.TASK and not self.store.query(_STANDS, spec.labels["replica"])
        if orphan and not seen.stopping:
            self.machine.violated(
                f"{spec.id} is ended as a stray: the row of its replica went before it was asked to end"
            )
        seen.stopping = True
        port = spec.env.get("PORT")
        if port and int(port) in self._routed(spec.labels["name"]) and self.node.listens(int(port)):
            self.machine.violated(f"{spec.id} is ended while requests go to it")

    def unasked(self, execution: str) -> list[UnitId]:
        """Attempts of the execution that live and were not asked to end."""
        return [
            spec.id
            for spec in self.node.alive
            if spec.labels.get("execution") == execution and not self.units[spec.id].stopping
        ]

    def _task_starts(self, spec: UnitSpec) -> None:
        labels = spec.labels
        execution, index, number = labels["execution"], labels["task"], labels["attempt"]
        rows = self.store.query(_ATTEMPT, int(index), int(number), execution)
        if not rows or rows[0][3] is None:
            self.machine.violated(f"{spec.id} starts before its attempt is durable")
            return
        most_at_once, max_retries, status, state = rows[0]
        if state not in _OPEN or status in _TERMINAL:
            self.machine.violated(f"{spec.id} starts though its end is recorded (execution {status})")
        self._check_room(spec, most_at_once)
        others = [seen for seen in self._of_task(execution, index) if seen.spec.id != spec.id]
        if any(self.node.lives(seen.spec.id) for seen in others):
            self.machine.violated(f"{spec.id} starts while another attempt of its task lives")
        if any(seen.outcome is not None and seen.outcome.succeeded for seen in others):
            self.machine.violated(f"{spec.id} starts after its task has succeeded")
        interrupted = sum(seen.interrupted for seen in others)
        if len(others) + 1 > 1 + max_retries + interrupted:
            self.machine.violated(f"{spec.id} is start {len(others) + 1} of at most {1 + max_retries}")

    def _check_room(self, spec: UnitSpec, most_at_once: int) -> None:
        tasks = [one for one in self.node.alive if one.kind is UnitKind.TASK]
        mine = [one for one in tasks if one.labels["execution"] == spec.labels["execution"]]
        if len(mine) + 1 > most_at_once:
            self.machine.violated(f"{spec.id} is number {len(mine) + 1} at once of at most {most_at_once}")
        if len(tasks) + 1 > self.slots:
            self.machine.violated(f"{spec.id} is task {len(tasks) + 1} at once of at most {self.slots}")

    def _of_task(self, execution: str, index: str) -> list[Seen]:
        return [
            seen
            for seen in self.units.values()
            if seen.spec.labels.get("execution") == execution and seen.spec.labels["task"] == index
        ]

    def _replica_starts(self, spec: UnitSpec) -> None:
        replica = spec.labels["replica"]
        rows = self.store.query("SELECT unit FROM replicas WHERE id = ?", replica)
        if not rows:
            self.machine.violated(f"{spec.id} starts before its replica is durable")
        before = [seen for seen in self.units.values() if seen.spec.labels.get("replica") == replica]
        for seen in before:
            if self.node.lives(seen.spec.id) and not seen.stopping:
                self.machine.violated(f"{spec.id} starts while {seen.spec.id} of its replica lives")
        self._check_back_off(spec, before)

    def _check_back_off(self, spec: UnitSpec, before: list[Seen]) -> None:
        """The wait since the last unit that ended by itself grows with how many in a row have. Ends for which the
        program is not to blame wait for nothing. (A server believes the wall clock of the one before: not after jumps.)
        """
        if self.machine.clock.stepped:
            return
        in_row = 0
        for seen in reversed(before):
            if seen.outcome is None or seen.outcome.stopped:
                break
            in_row += 1
        if in_row and before[-1].ended_at is not None:
            waited_s = self._now() - before[-1].ended_at
            if waited_s < restart_wait_s(in_row) - 0.001:
                self.machine.violated(f"{spec.id} starts {waited_s:.3f} s after end {in_row} of its replica")

    # What the store and the gateway are told

    def committed(self, connection: sqlite3.Connection) -> None:
        for ident, status, most_at_once, running, difference in connection.execute(_EXECUTIONS).fetchall():
            if self.terminal.get(ident, status) != status:
                self.machine.violated(f"execution {ident} was {self.terminal[ident]} and is {status}")
            if status in _TERMINAL:
                self.terminal[ident] = status
            if running > most_at_once or difference:
                self.machine.violated(f"execution {ident}: {running} of {most_at_once} run, {difference} uncounted")
        for statement, what in ((_DOUBLE_SLOTS, "slot"), (_DOUBLE_PORTS, "port")):
            for row in connection.execute(statement).fetchall():
                self.machine.violated(f"two replicas have the {what} {row}")

    def published(self, gateway: Gateway) -> None:
        """A new picture never takes requests from the last replica that answers, while the agent is to answer."""
        before = self.picture
        self.acts += before is None or set(before.routes) != set(gateway.routes)  # their order means nothing
        ready = {port for (port,) in self.store.query("SELECT port FROM replicas WHERE state = 'ready'")}
        for route in before.routes if before else ():
            answered = [port for port in self._routed(route.name) if port in ready and self.node.listens(port)]
            after = next((one for one in gateway.routes if one.name == route.name), None)
            going = self.store.query(
                "SELECT deleting OR spec LIKE '%\"enabled\":false%' FROM resources WHERE kind = 'agent' AND name = ?",
                route.name,
            )
            if after is None or not answered or not going or going[0][0]:
                continue
            if not any(self.node.listens(port) for port in _open_ports(gateway, route.name)):
                self.machine.violated(f"agent {route.name} answered at {answered} and has no replica any more")
        self.picture = gateway

    def _routed(self, agent: str) -> list[int]:
        return _open_ports(self.picture, agent) if self.picture else []

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _open_ports(gateway: Gateway, agent: str) -> list[int]:
    """Where the agent's new requests go."""
    return [
        endpoint.port
        for route in gateway.routes
        if route.name == agent
        for share in route.revisions
        for endpoint in share.endpoints
        if not endpoint.draining and share.weight
    ]
