"""Background tasks are owned, logged and stopped; a wake-up is never lost and never doubles a pass."""

import asyncio
import logging

import pytest

from homeport.core.service import Background, Wakeup


async def test_stopping_ends_every_task_and_leaves_none() -> None:
    background = Background()
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    background.spawn("a", work("a"))
    background.spawn("b", work("b"))
    await asyncio.sleep(0)
    assert background.active
    await background.stop()
    await background.stop()
    assert (sorted(ended), background.active) == (["a", "b"], False)


async def test_a_task_that_fails_is_logged_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    background = Background()

    async def fail() -> None:
        raise RuntimeError("on purpose")

    with caplog.at_level(logging.ERROR):
        await asyncio.wait([background.spawn("frail", fail())])
        await asyncio.sleep(0)
    assert "frail" in caplog.text and "on purpose" in caplog.text


async def test_many_signals_make_one_pass_and_one_before_the_wait_is_kept() -> None:
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.wake()
    async with asyncio.timeout(5):
        await wakeup.wait(60)
    clock = asyncio.get_running_loop().time
    began = clock()
    await wakeup.wait(0.05)
    assert clock() - began >= 0.04


async def test_a_cancellation_in_the_moment_of_a_signal_is_not_forgotten() -> None:
    wakeup = Wakeup()
    task = asyncio.ensure_future(wakeup.wait(60))
    await asyncio.sleep(0)
    wakeup.wake()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
