"""`GET /v0/policies?limit=50` with 10 000 policies: page 1 beside page 200, request by request in turns."""

import time
from statistics import median

from bench.figures import Figure, Outcome
from bench.installation import installation, objects, pids
from bench.machine import cpu_s
from homeport.core.ids import Kind
from homeport.testing.system import System

POLICIES = 10_000
LIMIT = 50
PAIRS = 200  # a round
SAME = 1.10  # the ratio of two medians that are the same, with room for the machine's noise


def run(rounds: int, scale: float) -> Outcome:
    first: list[float] = []
    last: list[float] = []
    ratios: list[float] = []
    cpu: list[float] = []
    with installation(objects(Kind.POLICY, max(3 * LIMIT, int(POLICIES * scale)))) as system:
        position, number = _cursor_of_last_page(system)
        for _ in range(rounds):
            server = pids(system)["server"]
            before = cpu_s(server)
            pairs = [(_timed(system, None), _timed(system, position)) for _ in range(max(5, int(PAIRS * scale)))]
            cpu.append((cpu_s(server) - before) * 1000 / (2 * len(pairs)))
            first.append(median(one for one, _ in pairs))
            last.append(median(other for _, other in pairs))
            ratios.append(last[-1] / first[-1])
    return Outcome(
        figures=[
            Figure(name="page 1, median", unit="ms", rounds=first),
            Figure(name=f"page {number}, median", unit="ms", rounds=last),
            Figure(name=f"page {number} / page 1", unit="", rounds=ratios, most=SAME),
            Figure(name="server's CPU a page", unit="ms", rounds=cpu),
        ]
    )


def _cursor_of_last_page(system: System) -> tuple[str, int]:
    """The cursor that opens the last full page, reached as clients do, and the page's number."""
    cursor, number = "", 1
    while following := _page(system, cursor)["meta"].get("nextCursor"):
        cursor, number = following, number + 1
    return cursor, number


def _page(system: System, cursor: str | None) -> dict[str, dict[str, str]]:
    answer = system.api.get("/policies", params={"limit": LIMIT, **({"cursor": cursor} if cursor else {})})
    assert answer.status_code == 200, answer.text
    found: dict[str, dict[str, str]] = answer.json()
    return found


def _timed(system: System, cursor: str | None) -> float:
    began = time.perf_counter()
    answer = system.api.get("/policies", params={"limit": LIMIT, **({"cursor": cursor} if cursor else {})})
    took = (time.perf_counter() - began) * 1000
    assert answer.status_code == 200 and len(answer.json()["data"]) == LIMIT, answer.text
    return took
