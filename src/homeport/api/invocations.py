"""Routes of asynchronous calls, which are Homeport's own."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import WithJsonSchema

from homeport.api.bodies import JsonRoute
from homeport.api.dependencies import Caller, Ctx
from homeport.api.observability import read_moment
from homeport.app.callback_secrets import rotate_callback_secret
from homeport.app.invocations import (
    PAGE_LIMIT,
    PAGE_LIMIT_MAX,
    Detail,
    Listing,
    cancel_invocation,
    get_invocation,
    list_invocations,
    replay_invocation,
)
from homeport.core.clock import timestamp
from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.core.limits import MIB
from homeport.invocations.handover import Message
from homeport.invocations.states import CallbackStatus, InvocationStatus
from homeport.store import invocation_records as records
from homeport.wire.invocations import (
    CallbackSecret,
    Invocation,
    InvocationAttempt,
    InvocationCallback,
    InvocationList,
    InvocationResponse,
    RotateIn,
)

router = APIRouter(prefix="/v0/homeport", tags=["homeport"], route_class=JsonRoute)

BODY_BYTES = 64 * 1024  # of an answer, where the caller does not say
SHAPE: dict[int | str, dict[str, Any]] = {200: {"model": Invocation}}
Ident = Annotated[str, Path(alias="invocationId")]
Limit = Annotated[
    int,
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT_MAX}),
    Query(ge=1, description="Calls on a page; more than the most counts as the most."),
]


@router.get("/invocations", operation_id="ListInvocations", responses={200: {"model": InvocationList}})
async def list_route(
    ctx: Ctx,
    caller: Caller,
    agent: Annotated[str, Query(description="Only this agent's.")] = "",
    status: Annotated[str, Query(description="Statuses, separated by commas.")] = "",
    since: Annotated[str, Query(description="Accepted at this time or later (RFC 3339).")] = "",
    until: Annotated[str, Query(description="Accepted before this time (RFC 3339).")] = "",
    sort: Annotated[str, Query(description="`createdAt:desc` or `createdAt:asc`.")] = "",
    after: Annotated[str, Query(description="`next` of the page before.")] = "",
    limit: Limit = PAGE_LIMIT,
) -> Any:
    """Asynchronous calls, newest first."""
    if sort not in ("", "createdAt:desc", "createdAt:asc"):
        raise Invalid("sort", "must be createdAt:desc or createdAt:asc", value=sort)
    listing = Listing(
        agent=agent,
        statuses=status,
        since=read_moment("since", since),
        until=read_moment("until", until),
        after=after,
        limit=limit,
        ascending=sort == "createdAt:asc",
    )
    page = await list_invocations(ctx, caller, listing)
    shown = [_call(call).to_json() for call in page.items]
    return InvocationList(data=shown, next=None if page.next is None else str(page.next)).to_json()


@router.get("/invocations/{invocationId}", operation_id="GetInvocation", responses=SHAPE)
async def get_route(
    ctx: Ctx,
    caller: Caller,
    ident: Ident,
    body_bytes: Annotated[
        int, Query(alias="bodyBytes", ge=0, le=MIB, description="So much of the answer's body at most.")
    ] = BODY_BYTES,
) -> Any:
    """One call with its attempts, its callback and the program's answer."""
    return _detail(await get_invocation(ctx, caller, ident), body_bytes).to_json()


@router.post("/invocations/{invocationId}/replay", operation_id="ReplayInvocation", responses=SHAPE)
async def replay_route(ctx: Ctx, caller: Caller, ident: Ident) -> Any:
    """Make a call that has ended again, as a new one."""
    return _call(await replay_invocation(ctx, caller, ident)).to_json()


@router.post("/invocations/{invocationId}/cancel", operation_id="CancelInvocation", responses=SHAPE)
async def cancel_route(ctx: Ctx, caller: Caller, ident: Ident) -> Any:
    """End a call that has not ended."""
    return _call(await cancel_invocation(ctx, caller, ident)).to_json()


@router.post(
    "/agents/{agentName}/callback-secret",
    operation_id="RotateCallbackSecret",
    responses={200: {"model": CallbackSecret}},
)
async def rotate_route(ctx: Ctx, caller: Caller, name: Annotated[str, Path(alias="agentName")], body: RotateIn) -> Any:
    """A new secret for the callbacks of a trigger, shown this once."""
    new = await rotate_callback_secret(ctx, caller, Kind.AGENT, name, body.trigger or None)
    return CallbackSecret(trigger=new.trigger, callback_secret=new.secret).to_json()


def _call(call: records.Invocation) -> Invocation:
    waits = call.status is InvocationStatus.QUEUED and call.attempts + len(call.message) > 0
    return Invocation(
        id=call.id,
        agent=call.agent,
        trigger=call.trigger or None,
        method=call.method,
        path=call.path,
        status=call.status.value,
        attempts=call.attempts,
        retries=call.retries,
        timeout=call.timeout_s,
        message=call.message or None,
        created_at=timestamp(call.created_at),
        started_at=_moment(call.started_at),
        completed_at=_moment(call.completed_at),
        next_attempt_at=timestamp(call.not_before) if waits else None,
        cancel_requested_at=_moment(call.cancel_requested_at),
        request_length=call.request_length,
        response_status=call.response_status,
        response_length=call.response_length,
        replay_of=call.replay_of,
    )


def _detail(found: Detail, body_bytes: int) -> Invocation:
    shown = _call(found.call)
    shown.attempt_list = _attempts(found.attempts)
    if found.call.callback_url:
        shown.callback = _callback(found.call, found.callback)
    if found.response is not None and found.call.response_status is not None:
        shown.response = _response(found.call, found.response, body_bytes)
    return shown


def _attempts(attempts: Sequence[records.InvocationAttempt]) -> list[InvocationAttempt]:
    return [
        InvocationAttempt(
            number=one.number,
            end=one.end.value,
            started_at=timestamp(one.started_at),
            ended_at=_moment(one.ended_at),
            status=one.status,
            reason=one.reason or None,
        )
        for one in attempts
    ]


def _callback(call: records.Invocation, callback: records.Callback | None) -> InvocationCallback:
    if callback is None:
        return InvocationCallback(url=call.callback_url, status="none" if call.status.terminal else "later")
    waits = callback.status is CallbackStatus.WAITING
    return InvocationCallback(
        url=call.callback_url,
        status=callback.status.value,
        attempts=callback.attempts,
        answer=callback.answer,
        message=callback.message or None,
        next_attempt_at=timestamp(callback.not_before) if waits else None,
    )


def _response(call: records.Invocation, answer: Message, most: int) -> InvocationResponse:
    body = answer.body[:most]
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body).decode(), True
    length = call.response_length or 0
    return InvocationResponse(
        status=call.response_status or 0,
        headers=[[name, value] for name, value in answer.headers],
        body=text,
        base64=encoded,
        length=length,
        truncated=length > len(body),
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
