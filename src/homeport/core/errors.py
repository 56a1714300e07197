"""Every error that Homeport raises on purpose, in one tree.

    HomeportError
    ├─ Rejected      the caller must change something; never retried
    │   Invalid 400 · Unauthenticated 401 · Denied 403 · NotFound 404 · Conflict 409 · LimitExceeded 429
    │   (VolumeAttached, VolumeExists) · Unsupported 501
    ├─ Unavailable   503 with Retry-After; may succeed later
    │   NoCapacity · DiskFull · DriverUnavailable (DriverMissing) · StoreUnavailable
    └─ Internal      500; a bug; the detail is logged, never sent

Each carries two messages: `message` for the caller, `detail` for the log. The class decides the HTTP status, in
`homeport.api.errors` and nowhere else.
"""

import re
from collections.abc import Mapping
from typing import ClassVar

# Below these names, and in what they name, a value may be a secret: it is never repeated, not even where it stands in
# the wrong place, such as `KEY=VALUE` sent as a name.
_QUIET = re.compile(
    r"\b(body|data|env|envs|envOverride|configurations?|dockerConfig|secrets?|value|labels|tasks|client_secret|callbackSecret|username|password)\b"
)


class HomeportError(Exception):
    """Something went wrong in Homeport."""

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "Internal"

    def __init__(self, message: str = "", *, detail: str = "", hint: str = "") -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.detail = detail
        self.hint = hint
        super().__init__(self.message)

    def for_caller(self) -> str:
        """The sentence that the caller may read: what is wrong and, where known, the next step."""
        return f"{self.message} {self.hint}".strip()


class Rejected(HomeportError):
    """The request cannot be accepted as it is."""

    status = 400
    reason = "Rejected"


class Invalid(Rejected):
    """A value breaks a rule. `field` is the path in the body or the parameter's name; `rule` says what is allowed."""

    reason = "Invalid"

    def __init__(self, field: str, rule: str, *, value: object = None, hint: str = "", detail: str = "") -> None:
        self.field = field
        self.rule = rule
        shown = f" (got {_short(value)})" if _may_be_shown(field, value) else ""
        super().__init__(f"{field}: {rule}{shown}.", hint=hint, detail=detail)


class Unauthenticated(Rejected):
    """No valid credential came with the request."""

    status = 401
    reason = "Unauthenticated"


class Denied(Rejected):
    """The credential is valid but may not do this, or a policy forbids it."""

    status = 403
    reason = "Denied"


class NotFound(Rejected):
    """There is no such thing in this workspace."""

    status = 404
    reason = "NotFound"


class Conflict(Rejected):
    """The request contradicts the present state."""

    status = 409
    reason = "Conflict"


class VolumeAttached(Conflict):
    """The volume is attached."""

    reason = "VOLUME_ALREADY_ATTACHED"  # public contract


class VolumeExists(Conflict):
    """There is a volume of this name already."""

    reason = "VOLUME_ALREADY_EXISTS"  # public contract


class LimitExceeded(Rejected):
    """A stated limit is reached."""

    status = 429
    reason = "LimitExceeded"


class Unsupported(Rejected):
    """This machine or its engine cannot do that."""

    status = 501
    reason = "Unsupported"


class Unavailable(HomeportError):
    """This cannot be done now; it may succeed later."""

    status = 503
    reason = "Unavailable"
    retry_after_s: ClassVar[int] = 1


class NoCapacity(Unavailable):
    """The machine has no room for this now."""

    reason = "NoCapacity"


class DiskFull(Unavailable):
    """The disk of the data directory is full."""

    reason = "DiskFull"
    retry_after_s = 5


class DriverUnavailable(Unavailable):
    """The driver that runs processes does not answer."""

    reason = "DriverUnavailable"


class DriverMissing(DriverUnavailable):
    """The driver that runs processes has not answered for long, or is of no use: somebody has to see to it."""


class StoreUnavailable(Unavailable):
    """The store does not answer."""

    reason = "StoreUnavailable"


class Internal(HomeportError):
    """An internal error occurred; its detail is in the server's log."""


def _may_be_shown(field: str, value: object) -> bool:
    """Whether a message may repeat `value`: not where it may be a secret, nor when it is a whole object or list, which
    may hold one."""
    return value is not None and not isinstance(value, Mapping | list | tuple) and not _QUIET.search(field)


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
