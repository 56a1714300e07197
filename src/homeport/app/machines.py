"""Which regions are one machine, as far as their drivers tell: a policy that tells such regions apart tells no machines
apart. Shown by the lists of locations, by `explain` and by `homeport status`.

Two signs count: what a driver says of the machine, and the id of an engine. An engine that is away, or that hides in a
container or a virtual machine with a name of its own, is taken for another machine.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from homeport.app.context import Context
from homeport.core.errors import Unavailable
from homeport.policy.inventory import Region
from homeport.policy.steps import Step, Verdict

Facts = Mapping[str, Mapping[str, Any]]  # by the driver's name, of those that answer
_SIGNS = ("machine", "engine_id")


async def driver_facts(context: Context) -> Facts:
    """What each driver says of itself; nothing of one that is away."""
    answers = await asyncio.gather(*(driver.info() for driver in context.drivers.values()), return_exceptions=True)
    found = {}
    for name, answer in zip(context.drivers, answers, strict=True):
        if isinstance(answer, BaseException):
            if not isinstance(answer, Unavailable):
                raise answer
            continue
        found[name] = answer
    return found


def one_machine(regions: Sequence[Region], facts: Facts) -> list[tuple[str, ...]]:
    """The names of regions that are one machine, two or more in each group."""
    groups: list[tuple[set[str], set[tuple[str, Any]]]] = []
    for region in regions:
        known = facts.get(region.driver, {})
        names, signs = {region.name}, {(sign, known[sign]) for sign in _SIGNS if known.get(sign)}
        for group in [group for group in groups if group[1] & signs]:
            groups.remove(group)
            names, signs = names | group[0], signs | group[1]
        groups.append((names, signs))
    order = [region.name for region in regions]
    return [tuple(sorted(names, key=order.index)) for names, _ in groups if len(names) > 1]


def machine_steps(regions: Sequence[Region], facts: Facts) -> tuple[Step, ...]:
    """One for each such machine."""
    return tuple(
        Step(subject=f"regions {', '.join(names)}", verdict=Verdict.STATES, sentence=told(names))
        for names in one_machine(regions, facts)
    )


def told(names: Sequence[str]) -> str:
    return (
        f"{', '.join(names[:-1])} and {names[-1]} are the same machine: a policy that lets one of them and not another "
        "chooses no other machine."
    )
