"""When a job goes by itself: `runtime.expires`, a moment, and `runtime.ttl`, a time after its last deployment.

Called where a job is accepted, and by the loop that removes what is due.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.spec import Bounds, parse_duration, read_int, read_object, read_text

EXPIRY_SETTINGS = ("expires", "ttl")  # of `runtime`: a job without them stays
TTL_S = Bounds(low=1, high=10 * 366 * 24 * 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """What a specification says; both None for a job that stays."""

    expires: datetime | None = None
    ttl_s: int | None = None

    def due_at(self, deployed_at: datetime) -> datetime | None:
        """The earlier of the two moments. An update is a deployment, so it begins the ttl anew."""
        after_ttl = None if self.ttl_s is None else deployed_at + timedelta(seconds=self.ttl_s)
        return min((moment for moment in (self.expires, after_ttl) if moment is not None), default=None)


def read_expiry(spec: Mapping[str, Any]) -> Expiry:
    """Raises `Invalid` for a moment that is no RFC 3339 text with its offset, or a ttl that is no duration."""
    runtime = read_object(spec, "runtime", "spec.runtime")
    ttl = runtime.get("ttl")
    ttl_s = None
    if ttl is not None and ttl != "":
        stated = {"ttl": parse_duration(ttl, "spec.runtime.ttl")}
        ttl_s = read_int(stated, "ttl", "spec.runtime.ttl", TTL_S)
    return Expiry(expires=_moment(read_text(runtime, "expires", "spec.runtime.expires")), ttl_s=ttl_s)


def refuse_past(spec: Mapping[str, Any], now: datetime) -> None:
    """Raises `Invalid` for a job that would go before it has come."""
    expires = read_expiry(spec).expires
    if expires is not None and expires <= now:
        raise Invalid("spec.runtime.expires", "must lie in the future", value=expires.isoformat())


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        if len(text) >= len("2024-12-31T23:59:59Z") and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Invalid("spec.runtime.expires", "must be a moment such as 2024-12-31T23:59:59Z", value=text)
