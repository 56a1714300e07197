"""Answers that the gateway gives itself, in the contract's shape (public API reference): Envoy's and the edge's.

`bootstrap` turns the table into Envoy's configuration, the activator builds the same bodies in Python. Answers of
programs are never touched, so the two headers here say that the platform spoke.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from homeport.core.clock import timestamp
from homeport.dataplane import headers
from homeport.dataplane.scopes import host_pattern

SOURCE_HEADER = "X-Blaxel-Source"
CODE_HEADER = "X-Blaxel-Error-Code"
# The public command line and SDKs repeat a POST after any answer from 500 on, unless this header forbids it.
SHOULD_RETRY_HEADER = "x-should-retry"
RETRY_AFTER_S = 1  # a cold start is often done by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One kind of error. `action` is what the caller may do, `do_not` what would not help. `may_have_run`: the program
    may have seen the request, so clients must not repeat it by themselves."""

    status: int
    code: str
    message: str
    action: str
    do_not: str
    retryable: bool = False
    may_have_run: bool = False

    def body(self, now: datetime) -> dict[str, Any]:
        """The envelope as JSON."""
        return self.envelope(self.status, timestamp(now))

    def envelope(self, status: int | str, moment: str) -> dict[str, Any]:
        """The envelope with the caller's idea of status and time: values, or what Envoy puts in their place."""
        error = {
            "code": self.code,
            "message": self.message,
            "status": status,
            "timestamp": moment,
            "retryable": self.retryable,
            "action": self.action,
            "do_not": self.do_not,
            "docs_url": "",  # there is no public site of this installation
            "origin": "platform",
        }
        return {"error": error}

    def headers(self) -> dict[str, str]:
        found = {SOURCE_HEADER: "platform", CODE_HEADER: self.code}
        if self.retryable:
            found["Retry-After"] = str(RETRY_AFTER_S)
        if self.status >= 500:
            found[SHOULD_RETRY_HEADER] = "false" if self.may_have_run else "true"
        return found


_NEW_CREDENTIAL = "Do not repeat the request with the same credential."
_WAIT = "Try again after a short wait, with growing pauses for about a minute."
_SAME = "Do not repeat the request unchanged."

CREDENTIAL_MISSING = Answer(
    status=401,
    code="AUTHENTICATION_REQUIRED",
    message="This address needs a credential.",
    action="Send an API key as a bearer token in X-Blaxel-Authorization or Authorization.",
    do_not="Do not repeat the request without a credential.",
)
CREDENTIAL_REFUSED = Answer(
    status=401,
    code="AUTHENTICATION_FAILED",
    message="The credential was not accepted: %LOCAL_REPLY_BODY%.",
    action="Send a valid API key, or make a new one.",
    do_not=_NEW_CREDENTIAL,
)
FORBIDDEN = Answer(
    status=403,
    code="FORBIDDEN",
    # A token for another audience is told so too: Envoy answers it 403.
    message="The credential may not call this: another workspace's, made for something else, too narrow, or revoked.",
    action="Use a key of this workspace that may run workloads of this kind.",
    do_not=_NEW_CREDENTIAL,
)
WORKLOAD_NOT_FOUND = Answer(
    status=404,
    code="WORKLOAD_NOT_FOUND",
    message="No such workload serves in this workspace.",
    action="Check the workspace, the kind and the name, and whether it is deployed.",
    do_not=_SAME,
)
ROUTE_NOT_FOUND = Answer(
    status=404,
    code="ROUTE_NOT_FOUND",
    message="Nothing is served at this address.",
    action="Call /{workspace}/agents/{name}, or the control plane below /v0.",
    do_not=_SAME,
)
MODELS_NOT_SERVED = replace(
    ROUTE_NOT_FOUND, message="Models are not served by this version.", action="Call the model's provider directly."
)
TOO_LARGE = Answer(
    status=413,
    code="REQUEST_ENTITY_TOO_LARGE",
    message="The request is larger than what may be sent.",
    action="Send less at once.",
    do_not=_SAME,
)
BAD_REQUEST = Answer(
    status=400,
    code="BAD_REQUEST",
    message="The request is not valid HTTP, its path holds an escaped slash, or it did not arrive in time.",
    action="Correct the request.",
    do_not=_SAME,
)
BUSY = Answer(
    status=429,
    code="TOO_MANY_REQUESTS",
    message="Too many calls wait already.",
    action=_WAIT,
    do_not="Do not repeat the request at once.",
    retryable=True,
)
UNAVAILABLE = Answer(
    status=503,
    code="WORKLOAD_UNAVAILABLE",
    message="No replica of the workload answers at the moment.",
    action=_WAIT,
    do_not="Do not deploy again because of this answer alone.",
    retryable=True,
)
BROKEN = replace(
    UNAVAILABLE,
    may_have_run=True,
    status=502,
    message="The workload closed the connection before it answered.",
    action="Read the workload's log; " + _WAIT[0].lower() + _WAIT[1:],
)
TOO_SLOW = replace(
    UNAVAILABLE,
    may_have_run=True,
    status=504,
    message="The call took longer in all than one may: 15 minutes, or what its trigger or this installation says.",
    action="Do less in one call, or call asynchronously.",
)
SILENT = replace(
    TOO_SLOW,
    message="No byte came for longer than a call may be silent: 100 seconds, or what this installation says.",
    action="Stream the answer, or call asynchronously.",
)
INTERNAL = replace(
    UNAVAILABLE,
    may_have_run=True,
    status=500,
    code="INTERNAL_ERROR",
    message="The gateway failed.",
    do_not="Do not change the request.",
)

_PLATFORM_PATH = r"/(v0|oauth|\.well-known|healthz|readyz)([/?].*)?"


def local_reply_config(domain: str) -> dict[str, Any]:
    """Envoy's `local_reply_config`: the first mapper that fits gives the body and the headers. `domain`: where
    workloads have their host names."""
    no_credential = [_header(name, present=False) for name in (headers.AUTHORIZATION, headers.BLAXEL_AUTHORIZATION)]
    workload = _header(":path", regex=headers.WORKLOAD_FORM)
    return {
        "mappers": [
            _mapper(BAD_REQUEST, _status("EQ", 501), status=400),  # a Transfer-Encoding that Envoy does not read
            _control_plane_mapper(domain),
            _mapper(CREDENTIAL_MISSING, _status("EQ", 401), *no_credential),
            _mapper(CREDENTIAL_REFUSED, _status("EQ", 401)),
            _mapper(FORBIDDEN, _status("EQ", 403)),
            _mapper(WORKLOAD_NOT_FOUND, _status("EQ", 404), workload),
            _mapper(WORKLOAD_NOT_FOUND, _status("EQ", 404), _header(":authority", regex=host_pattern(domain))),
            _mapper(ROUTE_NOT_FOUND, _status("EQ", 404)),
            _mapper(TOO_LARGE, _status("EQ", 413)),
            _mapper(BAD_REQUEST, _status("LE", 499)),
            _mapper(BROKEN, _status("EQ", 503), {"response_flag_filter": {"flags": ["UC", "UR", "UPE"]}}, status=502),
            _mapper(BROKEN, _status("EQ", 502)),
            _mapper(UNAVAILABLE, _status("EQ", 503)),
            _mapper(SILENT, _status("EQ", 504), {"response_flag_filter": {"flags": ["SI"]}}),
            _mapper(TOO_SLOW, _status("EQ", 504)),
            _mapper(INTERNAL, _status("GE", 500)),
        ]
    }


def _control_plane_mapper(domain: str) -> dict[str, Any]:
    """While the server is away its paths answer in its own shape, which its clients parse. On a workload's host name
    they are the program's."""
    elsewhere = _header(":authority", regex=host_pattern(domain))
    elsewhere["header_filter"]["header"]["invert_match"] = True
    conditions = [_status("GE", 500), _header(":path", regex=_PLATFORM_PATH), elsewhere]
    message = "The control plane does not answer at the moment; workloads are still served."
    body = {"code": "%RESPONSE_CODE%", "error": "Service unavailable", "message": message}
    return {
        "filter": {"and_filter": {"filters": conditions}},
        "body_format_override": _json(body),
        "headers_to_add": _added(replace(UNAVAILABLE, may_have_run=True).headers()),
    }


def _mapper(answer: Answer, *conditions: dict[str, Any], status: int | None = None) -> dict[str, Any]:
    body = answer.envelope("%RESPONSE_CODE%", "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%")
    one = conditions[0] if len(conditions) == 1 else {"and_filter": {"filters": list(conditions)}}
    mapper = {
        "filter": one,
        "body_format_override": _json(body),
        "headers_to_add": _added(answer.headers()),
    }
    return mapper if status is None else {**mapper, "status_code": status}


def _json(body: dict[str, Any]) -> dict[str, Any]:
    return {"json_format": body, "content_type": "application/json"}


def _added(found: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in found.items()
    ]


def _status(operator: str, status: int) -> dict[str, Any]:
    # The runtime key is compulsory; nothing sets it.
    value = {"default_value": status, "runtime_key": "homeport.unset"}
    return {"status_code_filter": {"comparison": {"op": operator, "value": value}}}


def _header(name: str, *, present: bool = True, regex: str = "") -> dict[str, Any]:
    matcher: dict[str, Any] = {"name": name}
    if regex:
        matcher["string_match"] = {"safe_regex": {"regex": regex}}
    else:
        matcher["present_match"] = present
    return {"header_filter": {"header": matcher}}
