"""Which schedules an agent has, and what a firing calls (pure)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from homeport.core.spec import read_text
from homeport.invocations.handover import Message
from homeport.invocations.settings import triggers

FIRINGS_MOST = 100  # calls of one firing: elements of `tasks`


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """An enabled trigger with a schedule. `bodies` are what its calls send: each of its `tasks`, else an empty
    object."""

    trigger: str
    expression: str
    bodies: tuple[bytes, ...]


def scheduled(spec: Mapping[str, Any]) -> Iterator[Scheduled]:
    """Of a specification that was checked when it was stored. An agent that is disabled has none."""
    if spec.get("enabled") is False:
        return
    for known, found in triggers(spec):
        expression = read_text(found, "schedule", "schedule")
        if expression and known.enabled:
            tasks = found.get("tasks") or [{}]
            bodies = tuple(json.dumps(task).encode() for task in tasks[:FIRINGS_MOST])
            yield Scheduled(trigger=known.id, expression=expression, bodies=bodies)


def request_of(trigger: str, moment: str, body: bytes) -> Message:
    """What a firing sends: a POST of JSON, with the trigger and the moment for which it was due."""
    headers = (
        ("Content-Type", "application/json"),
        ("X-Homeport-Trigger", trigger),
        ("X-Homeport-Scheduled-At", moment),
    )
    return Message(headers=headers, body=body)
