"""Whose turn it is: free slots → how many calls of each agent begin (pure).

Each agent has `per_agent` slots of the `room` that all share. They are dealt one by one to the agent with the fewest
calls under way, so that one with a long queue never keeps the others out; between equals the one that waits longest.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An agent with calls that are due. `due` is how many at least (it may be counted up to a bound), `oldest` since
    when the first of them is."""

    agent_uid: str
    running: int
    due: int
    oldest: datetime


def shares(waiting: Sequence[Waiting], room: int, per_agent: int) -> dict[str, int]:
    """How many calls begin, by the agent's uid; agents without any are left out."""
    turns = [(one.running, one.oldest, one.agent_uid, one.due) for one in waiting if one.due > 0]
    heapq.heapify(turns)
    given: dict[str, int] = {}
    while turns and room > 0:
        running, oldest, uid, due = heapq.heappop(turns)
        if running >= per_agent:
            continue
        given[uid] = given.get(uid, 0) + 1
        room -= 1
        if due > 1:
            heapq.heappush(turns, (running + 1, oldest, uid, due - 1))
    return given
