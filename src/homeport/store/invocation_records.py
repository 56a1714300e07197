"""Asynchronous calls as values; see `homeport.store.records`."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from homeport.invocations.states import AttemptEnd, CallbackStatus, InvocationStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """An asynchronous call of an agent. `number` is its place in the order of acceptance, given by the store.

    `trigger` is empty where none was configured. `attempts` numbers the attempts, `counted` are those that count
    against `retries`. `lease` is the edge process that has it under way. `path` is what the program sees, query
    included. `callback_url` is empty where nobody wants the result; `callback_secret` is sealed.
    """

    id: str
    workspace: str
    agent: str
    agent_uid: str
    trigger: str
    method: str
    path: str
    status: InvocationStatus
    retries: int
    timeout_s: int
    attempts: int = 0
    counted: int = 0
    not_before: datetime
    lease: str | None = None
    message: str = ""
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    response_status: int | None = None
    response_length: int | None = None
    request_length: int
    replay_of: str | None = None
    callback_url: str = ""
    callback_secret: str | None = None
    number: int = 0


class UnderWay(NamedTuple):
    """A running call, without what only its end needs."""

    number: int
    id: str
    lease: str | None
    cancelling: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationAttempt:
    """One start of a call; `number` from 1. Durable before the program hears of it."""

    invocation: int
    number: int
    end: AttemptEnd
    started_at: datetime
    ended_at: datetime | None = None
    status: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A result on its way. `answer` is the status of the newest attempt, None where there was no answer."""

    invocation: int
    status: CallbackStatus
    attempts: int = 0
    not_before: datetime
    lease: str | None = None
    answer: int | None = None
    message: str = ""
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationQuery:
    """A page of a workspace's calls, newest first unless `ascending`. None and empty mean all. `since` is included,
    `until` is not. `after` is the `next` of the page before."""

    workspace: str
    limit: int
    agent: str | None = None
    statuses: frozenset[InvocationStatus] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    after: int | None = None
    ascending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationPage:
    """`next` is None at the end."""

    items: list[Invocation]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When an agent calls itself. Every firing up to `checked_at` is decided; `next_at` is the first after it."""

    resource_uid: str
    trigger: str
    expression: str
    checked_at: datetime
    next_at: datetime
