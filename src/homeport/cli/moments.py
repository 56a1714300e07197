"""Times as people write them: a duration before now, or a moment."""

import re
from datetime import timedelta

from homeport.core.clock import SystemClock, parse_timestamp, timestamp
from homeport.core.errors import Invalid

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def read_moment(option: str, text: str) -> str:
    """As RFC 3339. Raises `Invalid` naming `option`."""
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    try:
        if found is not None:
            return timestamp(SystemClock().now() - timedelta(seconds=int(found[1]) * _SECONDS[found[2]]))
        return timestamp(parse_timestamp(text.strip()))
    except (ValueError, OverflowError) as exc:
        rule = "must be a duration such as 10m, 2h or 1d, or a time with its zone such as 2026-01-31T08:00:00Z"
        raise Invalid(option, rule, value=text) from exc
