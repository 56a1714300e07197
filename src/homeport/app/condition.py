"""What keeps the store from working fully at present, in sentences for people. Read by `/readyz` and by
`homeport status`."""

from dataclasses import dataclass

from homeport.app.context import Context
from homeport.core.clock import timestamp
from homeport.core.errors import DiskFull, HomeportError

_PROBE = "condition.probe"


@dataclass(frozen=True, slots=True)
class Condition:
    """`missing`: without it nothing works. `limits`: what runs goes on, and reads and deletes; nothing new begins."""

    missing: list[str]
    limits: list[str]


async def read_condition(context: Context) -> Condition:
    """Look at the store and the disk. Raises `Unavailable` where the store cannot even be read."""
    found = Condition(missing=[], limits=[])
    await context.store.read(lambda tx: tx.note(_PROBE))
    if context.store.failure is not None:
        await _write_something(context)
    failure, full = context.store.failure, context.space.full
    if failure is not None and not isinstance(failure, DiskFull):
        found.missing.append(f"store: {failure.for_caller()}")
    elif (error := full or failure) is not None:
        found.limits.append(error.for_caller())
    return found


async def _write_something(context: Context) -> None:
    """Try whether the store can write again: where nobody changes anything it would not find out."""
    now = timestamp(context.clock.now())
    try:
        await context.store.write(lambda tx: tx.set_note(_PROBE, now))
    except HomeportError:
        return  # the store remembers why
