"""The death of Envoy with 100 agents: from SIGKILL until each of them has answered a request through the next Envoy.

Between two kills lie more than the 10 s after which a component's next restart comes at once again.
"""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from bench.figures import Figure, Outcome
from bench.installation import installation, pids
from bench.trivial import PROGRAM
from homeport.testing.system import System, archive, eventually

MOST_S = 1.0
AGENTS = 100
ROUNDS_MOST = 3  # a round waits for the next one's turn; more would take minutes
STEADY_S = 11.0
ASKING_AT_ONCE = 8
TURN_S = 0.005


def run(rounds: int, scale: float) -> Outcome:
    count = max(2, int(AGENTS * scale))
    first: list[float] = []
    last: list[float] = []
    with installation() as system:
        names = [f"bench-{number:03}" for number in range(count)]
        _deploy(system, names)
        _all_answer(system, names, time.monotonic())
        for number in range(min(rounds, ROUNDS_MOST)):
            if number:
                time.sleep(STEADY_S)
            killed_at = time.monotonic()
            os.kill(pids(system)["envoy"], signal.SIGKILL)
            times = _all_answer(system, names, killed_at)
            first.append(min(times))
            last.append(max(times))
    return Outcome(
        figures=[
            Figure(name=f"until the first of {count} agents answers", unit="s", rounds=first),
            Figure(name=f"until all {count} agents have answered", unit="s", rounds=last, most=MOST_S),
        ],
        notes=[f"{len(last)} rounds, {STEADY_S:g} s apart"],
    )


def _deploy(system: System, names: list[str]) -> None:
    content = archive({"main.py": PROGRAM.read_text()})
    spec = {"runtime": {"memory": 64}}
    for name in names:
        accepted = system.accept("agents", name, spec)
        assert accepted.status_code == 200, accepted.text
        sent = httpx.put(accepted.headers["X-Blaxel-Upload-Url"], content=content)
        assert sent.status_code == 200, sent.text
    for name in names:
        found = system.settled("agents", name)
        assert found["status"] == "DEPLOYED", json.dumps(found)


def _all_answer(system: System, names: list[str], since: float) -> list[float]:
    """For each agent the seconds from `since` until it has answered 200. Several are asked at once, each by name."""
    with ThreadPoolExecutor(ASKING_AT_ONCE) as pool:
        return [*pool.map(lambda name: _answered(system, name, since), names)]


def _answered(system: System, name: str, since: float) -> float:
    def answers() -> bool:
        try:
            return system.gateway.get(f"/agents/{name}").status_code == 200
        except httpx.TransportError:
            time.sleep(TURN_S)
            return False

    eventually(answers, f"{name} answers")
    return time.monotonic() - since
