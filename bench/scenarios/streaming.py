"""Server-sent events 5 ms apart: through the gateway, through the activator, and from the program directly, in turns.
Each event says when it was written: how long each is under way, and whether two come as one.
"""

import socket
import time
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from urllib.parse import urlsplit

from bench.figures import Figure, Outcome, turned
from bench.installation import WORKSPACE, installation
from bench.load import p99
from bench.trivial import PROGRAM
from homeport.core.ids import Kind
from homeport.dataplane import headers
from homeport.reconcile.observation import Workload, read_workload
from homeport.store.contract import Transaction
from homeport.store.sqlite import read_beside
from homeport.testing.system import System

EVENTS = 100
STREAMS = 20  # a round and target
FIRST_MOST_MS = 1.0  # later than the program's own, the median of a round
HELD_MOST_MS = 1.0  # later on its way than directly, 99 of 100 events
DIRECT, GATEWAY, ACTIVATOR = "directly", "gateway", "activator"
_BOUND_S = 30.0


@dataclass(slots=True)
class _Seen:
    """Of one target and round, in milliseconds. `first`: from the request to the first event; `way`: from the writing
    of an event to its arrival; `gaps`: between two arrivals; `merged`: events that came with the one before."""

    first: list[float] = field(default_factory=list)
    way: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    merged: int = 0


def run(rounds: int, scale: float) -> Outcome:
    streams = max(2, int(STREAMS * scale))
    with installation() as system:
        spec = {"runtime": {"envs": [{"name": "EVENTS", "value": str(EVENTS)}]}}
        deployed = system.deploy("agents", "ticks", {"main.py": (PROGRAM.parent / "ticks.py").read_text()}, spec)
        assert deployed["status"] == "DEPLOYED", deployed
        found: dict[str, list[_Seen]] = {}
        targets = _targets(system)
        for number in range(-1, rounds):
            seen = {name: _Seen() for name in targets}
            for turn in range(streams):
                for name in turned(targets, turn):
                    _stream(targets[name], seen[name])
            if number >= 0:
                for name, one in seen.items():
                    found.setdefault(name, []).append(one)
    return _outcome(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    address: tuple[str, int] | str
    request: bytes


def _targets(system: System) -> dict[str, _Target]:
    """The edge is asked as the gateway asks it while no replica takes requests."""
    found = read_beside(system.data.database, _stored)
    (replica,) = found.replicas
    gateway = urlsplit(system.url)
    path = f"/{WORKSPACE}/agents/ticks"
    return {
        DIRECT: _Target(address=("127.0.0.1", replica.port), request=_request("/", "Accept: */*")),
        GATEWAY: _Target(
            address=(gateway.hostname or "", gateway.port or 0),
            request=_request(path, f"Authorization: Bearer {system.key}"),
        ),
        ACTIVATOR: _Target(
            address=str(system.data.socket("edge")),
            request=_request("/", f"{headers.WORKLOAD}: {path[1:]}/{replica.revision_id}"),
        ),
    }


def _stored(tx: Transaction) -> Workload:
    found = tx.resources.get(WORKSPACE, Kind.AGENT, "ticks")
    assert found is not None
    return read_workload(found, tx)


def _request(path: str, header: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{header}\r\n\r\n".encode()


def _stream(target: _Target, seen: _Seen) -> None:
    """One stream over a connection of its own. What one `recv` brings has come together."""
    family = socket.AF_UNIX if isinstance(target.address, str) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(_BOUND_S)
        connection.connect(target.address)
        began = time.monotonic_ns()
        connection.sendall(target.request)
        written: list[int] = []
        came: list[int] = []
        rest = b""
        while len(written) < EVENTS:
            received = connection.recv(65536)
            now = time.monotonic_ns()
            assert received, f"the stream ended after {len(written)} events: {rest[-300:]!r}"
            *lines, rest = (rest + received).split(b"\n")
            events = [int(line[6:]) for line in lines if line.startswith(b"data: ")]
            seen.merged += max(0, len(events) - 1)
            written += events
            came += [now] * len(events)
    seen.first.append((came[0] - began) / 1e6)
    seen.way += [(there - here) / 1e6 for here, there in zip(written, came, strict=True)]
    seen.gaps += [(later - earlier) / 1e6 for earlier, later in pairwise(came)]


def _outcome(found: dict[str, list[_Seen]]) -> Outcome:
    figures: list[Figure] = []
    for name, rounds in found.items():
        figures += [
            Figure(name=f"first event, {name}", unit="ms", rounds=[median(one.first) for one in rounds]),
            Figure(name=f"an event's way, median, {name}", unit="ms", rounds=[median(one.way) for one in rounds]),
            Figure(name=f"an event's way, p99, {name}", unit="ms", rounds=[p99(one.way) for one in rounds]),
            Figure(name=f"between two events, p99, {name}", unit="ms", rounds=[p99(one.gaps) for one in rounds]),
            Figure(
                name=f"events that came with the one before, {name}", unit="", rounds=[one.merged for one in rounds]
            ),
        ]
    for name in (GATEWAY, ACTIVATOR):
        pairs = [*zip(found[name], found[DIRECT], strict=True)]
        first = [median(one.first) - median(direct.first) for one, direct in pairs]
        way = [p99(one.way) - p99(direct.way) for one, direct in pairs]
        # The connection to the edge is not the program's: it asks the server first, once for each request.
        most = FIRST_MOST_MS if name == GATEWAY else None
        figures += [
            Figure(name=f"first event, more than directly, {name}", unit="ms", rounds=first, most=most),
            Figure(name=f"an event's way, p99, more than directly, {name}", unit="ms", rounds=way, most=HELD_MOST_MS),
        ]
    return Outcome(figures=figures, notes=[f"{EVENTS} events a stream, 5 ms apart, each stream over a new connection"])
