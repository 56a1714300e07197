"""Asynchronous calls under `/v0/homeport/` (outside the contract)."""

from typing import Any

from homeport.wire.body import Body, Reply


class InvocationAttempt(Reply):
    """`end` says how it stands; `status` is the answer's."""

    number: int
    end: str
    started_at: str
    ended_at: str | None = None
    status: int | None = None
    reason: str | None = None


class InvocationCallback(Reply):
    """The result on its way to the trigger's callback URL. `answer` is the receiver's status at the newest attempt."""

    url: str
    status: str
    attempts: int = 0
    answer: int | None = None
    message: str | None = None
    next_attempt_at: str | None = None


class InvocationResponse(Reply):
    """What the program answered. `body` is its beginning; in base64 where it is no text."""

    status: int
    headers: list[list[str]]
    body: str
    base64: bool
    length: int
    truncated: bool


class Invocation(Reply):
    """An asynchronous call. Lists leave out what only one call in detail has: `attemptList`, `response`."""

    id: str
    agent: str
    trigger: str | None = None
    method: str
    path: str
    status: str
    attempts: int
    retries: int
    timeout: int
    message: str | None = None
    created_at: str
    started_at: str | None = None
    completed_at: str | None = None
    next_attempt_at: str | None = None
    cancel_requested_at: str | None = None
    request_length: int
    response_status: int | None = None
    response_length: int | None = None
    replay_of: str | None = None
    attempt_list: list[InvocationAttempt] | None = None
    callback: InvocationCallback | None = None
    response: InvocationResponse | None = None


class InvocationList(Reply):
    """`next` is absent on the last page; else it is `after` of the next one."""

    data: list[dict[str, Any]]
    next: str | None = None


class RotateIn(Body):
    """`trigger` may be left out where only one has a callback URL."""

    trigger: str | None = None


class CallbackSecret(Reply):
    """Shown once."""

    trigger: str
    callback_secret: str
