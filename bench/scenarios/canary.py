"""The share of a canary: of a hundred thousand requests with a key, by how many standard deviations the number that the
canary answered differs from what was asked for. Counted by what the programs answer, none of them lost."""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import urlsplit

from bench.figures import Figure, Outcome, Refused
from bench.installation import installation
from homeport.testing.system import System, eventually

REQUESTS = 100_000
MOST_DEVIATIONS = 3.0
AT_ONCE = 4
SHARES = (10, 50, 1, 25, 90)  # in percent, one a round
NAME = "shared"
PROGRAM = """
import asyncio, os

class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.seen = transport, b""

    def data_received(self, data):
        self.seen += data
        while b"\\r\\n\\r\\n" in self.seen:
            self.seen = self.seen.partition(b"\\r\\n\\r\\n")[2]
            self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nVERSION")

async def main():
    server = await asyncio.get_running_loop().create_server(Answer, os.environ["HOST"], int(os.environ["PORT"]))
    await server.serve_forever()

asyncio.run(main())
"""


def run(rounds: int, scale: float) -> Outcome:
    count = max(AT_ONCE, int(REQUESTS * scale) // AT_ONCE * AT_ONCE)
    deviations: list[float] = []
    notes: list[str] = []
    with installation() as system:
        _deploy(system, "old", 100)
        _deploy(system, "new", SHARES[0])
        for number in range(rounds):
            percent = SHARES[number % len(SHARES)]
            _share(system, percent)
            answered = _count(system, count)
            if answered.total() != count or not set(answered) <= {"old", "new"}:
                raise Refused(f"of {count} requests not all were answered by the two revisions: {dict(answered)}")
            share = percent / 100
            deviations.append(abs(answered["new"] - count * share) / math.sqrt(count * share * (1 - share)))
            notes.append(f"{percent} %: {answered['new']} of {count}")
    figure = Figure(
        name=f"{count} requests, off by standard deviations", unit="", rounds=deviations, most=MOST_DEVIATIONS
    )
    return Outcome(figures=[figure], notes=notes)


def _deploy(system: System, version: str, traffic: int) -> None:
    files = {"main.py": PROGRAM.replace("VERSION", version)}
    spec = {"runtime": {"memory": 64}, "revision": {"traffic": traffic}}
    found = system.deploy("agents", NAME, files, spec)
    assert found["status"] == "DEPLOYED", found


def _share(system: System, percent: int) -> None:
    newest, active = (one["id"] for one in system.api.get(f"/agents/{NAME}/revisions").json())
    revision = {"active": active, "canary": newest, "canaryPercent": percent}
    body = {"metadata": {"name": NAME}, "spec": {"runtime": {"memory": 64}, "revision": revision}}
    answer = system.api.put(f"/agents/{NAME}", json=body)
    assert answer.status_code == 200, answer.text

    def told() -> bool:
        found = system.api.get(f"/homeport/rollouts/agents/{NAME}").json()
        return found["served"].get("canaryPercent") == percent and found["status"] == "DEPLOYED"

    eventually(told, f"{percent} % are served")


def _count(system: System, count: int) -> Counter[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = pool.map(lambda _: _answers(system, count // AT_ONCE), range(AT_ONCE))
    return sum(parts, Counter())


def _answers(system: System, count: int) -> Counter[str]:
    connection = HTTPConnection(urlsplit(system.url).netloc)
    headers = {"Authorization": f"Bearer {system.key}"}
    found: Counter[str] = Counter()
    for _ in range(count):
        connection.request("GET", f"/default/agents/{NAME}", headers=headers)
        found[connection.getresponse().read().decode()] += 1
    connection.close()
    return found
