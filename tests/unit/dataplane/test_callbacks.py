"""Callbacks connect to public addresses only, whatever a name says from one moment to the next."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from homeport.dataplane.callbacks import Courier
from homeport.invocations.handover import Errand


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """What names resolve to: one answer after the other, the last for ever."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in answers:
            found = answers[name]
            return real(found.pop(0) if len(found) > 1 else found[0], *rest, **more)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield answers


async def receiving(seen: list[bytes], answer: web.Response | None = None) -> tuple[web.AppRunner, int]:
    async def handle(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return answer or web.Response(status=204)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


async def sent(url: str, *allowed: str) -> tuple[int | None, str]:
    courier = Courier()
    courier.allow(allowed)
    try:
        delivery = await courier.deliver(
            Errand(id="inv-one", attempt=1, url=url, body='{"a": 1}', signature="sha256=00"), 1
        )
    finally:
        await courier.close()
    return delivery.status, delivery.reason


async def test_a_loopback_address_is_refused_as_such_and_as_a_name_and_allowed_by_the_operator(
    names: dict[str, list[str]],
) -> None:
    seen: list[bytes] = []
    runner, port = await receiving(seen)
    try:
        names["hook.example"] = ["127.0.0.1"]
        for host in ("127.0.0.1", "localhost", "hook.example", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001"):
            status, reason = await sent(f"http://{host}:{port}/")
            assert status is None and reason, host
        assert seen == []
        assert await sent(f"http://hook.example:{port}/", "127.0.0.0/8") == (204, "")
        assert seen == [b'{"a": 1}']
    finally:
        await runner.cleanup()


async def test_a_name_that_changes_its_mind_gains_nothing(names: dict[str, list[str]]) -> None:
    """The first look finds a public address, the second, if there were one, loopback."""
    seen: list[bytes] = []
    runner, port = await receiving(seen)
    try:
        names["hook.example"] = ["127.0.0.1", "8.8.8.8"]  # whichever is connected to is what is looked at
        status, reason = await sent(f"http://hook.example:{port}/")
        assert status is None and "127.0.0.1 is not a public address" in reason
        assert seen == []
    finally:
        await runner.cleanup()


async def test_a_redirect_is_not_followed() -> None:
    seen: list[bytes] = []
    runner, port = await receiving(seen, web.Response(status=307, headers={"Location": "/elsewhere"}))
    try:
        assert await sent(f"http://127.0.0.1:{port}/", "127.0.0.1/32") == (307, "")
        assert len(seen) == 1
    finally:
        await runner.cleanup()


async def test_this_machines_own_public_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeport.dataplane.callbacks.is_public", lambda address: True)
    status, reason = await sent("http://127.0.0.1:9/")
    assert status is None and "this machine's own address" in reason
