"""Who is named is worked on once at a time, and once more where it was named in the middle; a wake-up says who."""

import asyncio

from homeport.core.service import SUBJECTS_MOST, Wakeup
from homeport.reconcile.attention import Attention


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_that_is_named_while_it_is_worked_on_is_worked_on_once_more() -> None:
    began: list[str] = []
    gate = asyncio.Event()

    async def work(uid: str) -> None:
        began.append(uid)
        await gate.wait()

    attention = Attention(work, most=10)
    for _ in range(3):
        attention.attend("a")
        await _turn()
    assert (began, attention.has("a"), attention.count) == (["a"], True, 1)
    gate.set()
    await _turn()
    assert (began, attention.has("a")) == (["a", "a"], False)


async def test_more_than_there_is_room_for_have_their_turn_in_their_order() -> None:
    began: list[str] = []
    gates = {uid: asyncio.Event() for uid in "abcde"}

    async def work(uid: str) -> None:
        began.append(uid)
        await gates[uid].wait()

    attention = Attention(work, most=2)
    for uid in "abcd":
        attention.attend(uid)
    await _turn()
    assert began == ["a", "b"]
    gates["b"].set()
    await _turn()
    assert began == ["a", "b", "c"]
    attention.attend("e", urgent=True)
    await _turn()
    assert began == ["a", "b", "c", "e"], "somebody waits for it"
    await attention.stop()
    await _turn()
    assert (began, attention.count) == (["a", "b", "c", "e"], 0)


async def test_work_that_fails_makes_room_for_the_next() -> None:
    began: list[str] = []

    async def work(uid: str) -> None:
        began.append(uid)
        raise RuntimeError("on purpose")

    attention = Attention(work, most=1)
    attention.attend("a")
    attention.attend("b")
    await _turn()
    assert began == ["a", "b"] and attention.count == 0


async def test_a_wake_up_tells_who_was_named_and_one_that_names_nobody_is_for_all() -> None:
    wakeup = Wakeup()
    wakeup.wake("a")
    wakeup.wake("b")
    assert await wakeup.wait(60) == {"a", "b"}
    assert await wakeup.wait(0.001) == frozenset()
    wakeup.wake("a")
    wakeup.wake()
    wakeup.wake("b")
    assert await wakeup.wait(60) is None
    for number in range(SUBJECTS_MOST + 1):
        wakeup.wake(str(number))
    assert await wakeup.wait(60) is None
