"""Clients stay with the revision that they met first, and with one replica where that is asked for: on a real Envoy."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from homeport.dataplane.routes import WorkloadRoute
from homeport.testing.gateway import GatewaySystem as System
from homeport.testing.gateway import Program, agent, revision
from homeport.workloads.addresses import CustomPath, Stickiness

CLIENTS = 300
STICKY = Stickiness(ttl_s=600)
TO_REPLICA = Stickiness(replica=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    running = System()
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def programs(system: System) -> list[Program]:
    return [await system.program(name) for name in ("one", "two", "three", "four")]


def split(programs: list[Program], share: int, rule: Stickiness, **more: Any) -> WorkloadRoute:
    """Two programs of the revision r1, two of r2, which has `share` percent."""
    first, second = revision("r1", *programs[:2], weight=100 - share), revision("r2", *programs[2:], weight=share)
    return replace(agent("a1", first, second, public=True), stickiness=rule, **more)


class Client:
    """A browser with its cookies, or an SDK with the id of a conversation."""

    def __init__(self, system: System, path: str = "/acme/agents/a1/x", host: str = "", **headers: str) -> None:
        self.system, self.path = system, path
        self.headers = {**headers, **({"Host": host} if host else {})}
        self.cookies: dict[str, str] = {}
        self.set_cookie: list[str] = []

    async def call(self) -> str:
        jar = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        answer = await self.system.get(self.path, {**self.headers, **jar})
        assert answer.status == 200, answer.text
        self.set_cookie = answer.headers.getall("Set-Cookie", [])  # type: ignore[attr-defined]
        for text in self.set_cookie:
            self.cookies |= {name: one.value for name, one in SimpleCookie(text).items()}
        return str(answer.json["program"])


def revision_of(program: str) -> str:
    return "r1" if program in ("one", "two") else "r2"


async def test_a_browser_stays_with_the_revision_that_it_met_first(system: System, programs: list[Program]) -> None:
    await system.publish(split(programs, 30, STICKY))
    met: Counter[str] = Counter()
    browsers = []
    for _ in range(CLIENTS):
        browser = Client(system)
        first = revision_of(await browser.call())
        met[first] += 1
        assert [revision_of(await browser.call()) for _ in range(3)] == [first] * 3
        assert browser.set_cookie == []  # the time counts from the first answer
        browsers.append((browser, first))
    assert 40 <= met["r2"] <= 140  # 90 expected; more than six standard deviations
    await system.publish(split(programs, 80, STICKY))  # another share changes nothing for who has been here
    assert [revision_of(await browser.call()) for browser, _ in browsers] == [first for _, first in browsers]


async def test_the_cookie_is_for_the_address_alone_and_says_nothing(system: System, programs: list[Program]) -> None:
    path = CustomPath(path="hook/a", trigger="t", public=True)
    await system.publish(split(programs, 50, STICKY, paths=(path,), host="agt-a1-acme"))
    places = {
        "/acme/agents/a1": Client(system),
        "/acme/hook/a": Client(system, "/acme/hook/a"),
        "/": Client(system, "/", host=f"agt-a1-acme.localhost:{system.port}"),
    }
    for place, browser in places.items():
        await browser.call()
        (text,) = browser.set_cookie
        ((_, cookie),) = SimpleCookie(text).items()
        assert (cookie["path"], cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (
            place,
            "600",
            True,
            "Lax",
        )
        assert cookie["domain"] == "" and len(cookie.value) == 24
        assert not any(word in cookie.value for word in ("r1", "r2", "a1", "acme"))


async def test_a_cookie_that_names_no_revision_of_the_split_is_ignored(system: System, programs: list[Program]) -> None:
    await system.publish(split(programs, 100, STICKY))
    browser = Client(system)
    assert revision_of(await browser.call()) == "r2"
    await system.publish(split(programs, 0, STICKY))
    assert revision_of(await browser.call()) == "r1"
    assert browser.set_cookie  # pinned anew
    for value in ("", "junk", "x" * 4000, "r2", "acme/agents/a1/r2"):
        stranger = Client(system)
        stranger.cookies = {"hp-revision": value, "other": "1"}
        assert revision_of(await stranger.call()) == "r1"


async def test_a_single_revision_pins_for_the_canary_to_come(system: System, programs: list[Program]) -> None:
    await system.publish(split(programs, 0, STICKY))
    browser = Client(system)
    assert revision_of(await browser.call()) == "r1"
    await system.publish(split(programs, 99, STICKY))
    assert {revision_of(await browser.call()) for _ in range(30)} == {"r1"}


async def test_a_conversation_stays_with_its_revision_while_the_shares_stay(
    system: System, programs: list[Program]
) -> None:
    await system.publish(split(programs, 30, STICKY))
    first = {}
    for number in range(CLIENTS):
        caller = Client(system, **{"X-Blaxel-Thread-Id": f"conversation-{number}"})
        first[number] = revision_of(await caller.call())
        assert caller.set_cookie == []
    met = Counter(first.values())
    assert 40 <= met["r2"] <= 140
    again = {}
    for number in range(CLIENTS):
        again[number] = revision_of(await Client(system, **{"x-blaxel-thread-id": f"conversation-{number}"}).call())
    assert again == first
    await system.publish(split(programs, 60, STICKY))  # a larger share takes more, and gives none back
    for number in [number for number, had in first.items() if had == "r2"]:
        caller = Client(system, **{"X-Blaxel-Thread-Id": f"conversation-{number}"})
        assert revision_of(await caller.call()) == "r2"


@pytest.mark.parametrize("share", [0, 40])
async def test_with_affinity_a_browser_stays_with_one_replica(
    system: System, programs: list[Program], share: int
) -> None:
    await system.publish(split(programs, share, TO_REPLICA))
    met: Counter[str] = Counter()
    for _ in range(CLIENTS):
        browser = Client(system)
        first = await browser.call()
        met[first] += 1
        assert [await browser.call() for _ in range(2)] == [first] * 2
        assert all("Max-Age" not in text for text in browser.set_cookie)
    assert len(met) == (2 if share == 0 else 4) and min(met.values()) > CLIENTS * 0.05, met


async def test_with_affinity_a_conversation_stays_with_one_replica_and_leaves_one_that_is_gone(
    system: System, programs: list[Program]
) -> None:
    rule = Stickiness(ttl_s=60, replica=True)

    async def met_by(route: WorkloadRoute) -> dict[int, str]:
        await system.publish(route)
        callers = [Client(system, **{"X-Blaxel-Thread-Id": f"t{number}"}) for number in range(CLIENTS)]
        return {number: await caller.call() for number, caller in enumerate(callers)}

    both = agent("a1", revision("r1", *programs[:3]), public=True)
    first = await met_by(replace(both, stickiness=rule))
    assert await met_by(replace(both, stickiness=rule)) == first
    assert set(Counter(first.values())) == {"one", "two", "three"}
    fewer = agent("a1", revision("r1", *programs[:2]), public=True)
    moved = await met_by(replace(fewer, stickiness=rule))
    kept = [moved[number] == program for number, program in first.items() if program != "three"]
    assert sum(kept) >= 0.95 * len(kept)  # all but a few
    assert set(moved.values()) == {"one", "two"}
    browser = Client(system)
    left = await browser.call()
    other = next(program for program in programs[:2] if program.name != left)
    await system.publish(replace(agent("a1", revision("r1", other), public=True), stickiness=rule))
    assert [await browser.call() for _ in range(3)] == [other.name] * 3


async def test_a_replica_that_died_a_moment_ago_is_replaced_by_another_or_through_the_activator(
    system: System, programs: list[Program]
) -> None:
    dying = await system.program("dying")
    rule = Stickiness(ttl_s=60, replica=True)
    await system.publish(replace(agent("a1", revision("r1", dying, programs[0]), public=True), stickiness=rule))
    browser = Client(system)
    while await browser.call() != "dying":
        browser = Client(system)
    await dying.stop()
    assert await browser.call() == "one"
    await system.publish(replace(agent("a1", revision("r1", dying), public=True), stickiness=rule))
    system.activate = lambda: web.json_response({"address": "127.0.0.1", "port": programs[1].port})
    assert await browser.call() == "two"


async def test_without_stickiness_no_cookie_is_set(system: System, programs: list[Program]) -> None:
    await system.publish(split(programs, 50, Stickiness()))
    browser = Client(system)
    await browser.call()
    assert browser.set_cookie == []
