"""API answers as the errors of `homeport.core.errors`, so that a caller sees the same classes on either side.

Called by the client for every answer of 400 and above. What the server says is passed on word for word.
"""

from typing import Any

from homeport.core.errors import (
    Conflict,
    Denied,
    HomeportError,
    LimitExceeded,
    NotFound,
    Rejected,
    Unauthenticated,
    Unavailable,
)


class Unreachable(Unavailable):
    """Nothing answers at the address."""

    reason = "Unreachable"


class ServerFailed(HomeportError):
    """The server failed; its log says how."""

    reason = "ServerFailed"


_BY_STATUS: dict[int, type[HomeportError]] = {
    401: Unauthenticated,
    403: Denied,
    404: NotFound,
    409: Conflict,
    429: LimitExceeded,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_of(status: int, body: object, text: str) -> HomeportError:
    """The error that an answer stands for. `body` is its parsed JSON, None when it is not JSON; `text` its beginning.

    Knows the control plane's shape (`error`, `code`, `message`) and the gateway's (`error` is an object).
    """
    kind = _BY_STATUS.get(status, Rejected if status < 500 else ServerFailed)
    gateway = body.get("error") if isinstance(body, dict) else None
    hint = gateway.get("action") if isinstance(gateway, dict) else None
    message = _sentence(body) or text.strip()[:500] or f"The server answered {status}."
    return kind(message, hint=hint if isinstance(hint, str) else "")


def _sentence(body: object) -> str:
    if not isinstance(body, dict):
        return ""
    inner: Any = body.get("error")
    source = inner if isinstance(inner, dict) else body
    words = (source.get("message"), inner)
    return next((word for word in words if isinstance(word, str) and word), "")
