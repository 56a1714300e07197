"""When a cron expression fires (pure). For whatever a schedule starts.

Five fields as in the public contract; in UTC, so that no hour of a change to summer time fires twice or never. A moment
counts as decided once `checked_at` has passed it. Firings that were missed, because nothing ran then, are not made up
for one by one: the newest is, if it is no older than `LATE`, and the rest are skipped.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from homeport.core.errors import Invalid

LATE = timedelta(hours=1)
_PUNCTUAL = timedelta(seconds=90)  # a firing that is looked at so late was not missed
_LOOKED_AT = 10_000  # missed firings that are counted: a week of every minute
_FIELDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """What is due: at most one firing, `at`. `skipped` is how many were missed and are not made up for; `next_at` is
    the first one after now."""

    at: datetime | None
    skipped: int
    next_at: datetime


def check_expression(text: str, field: str) -> str:
    """Raises `Invalid` for what is no cron expression, or one that never fires."""
    rule = 'must be a cron expression of five fields such as "0 3 * * *" (minute, hour, day, month, weekday), in UTC'
    if len(text.split()) != _FIELDS:
        raise Invalid(field, rule, value=text)
    try:
        next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as exc:
        raise Invalid(field, rule, value=text) from exc
    return text


def next_firing(expression: str, after: datetime) -> datetime:
    """The first one after this moment."""
    return next(CronSim(expression, after.astimezone(UTC)))


def due_firing(expression: str, checked_at: datetime, now: datetime) -> Firing:
    """What is due of the firings after `checked_at` up to `now`."""
    first = checked_at
    if now - checked_at > LATE + _PUNCTUAL:
        first = max(checked_at, now - timedelta(days=8))  # of an older one only a number would be said
    found: list[datetime] = []
    moment = next_firing(expression, first)
    while moment <= now and len(found) < _LOOKED_AT:
        found.append(moment)
        moment = next_firing(expression, moment)
    newest = found[-1] if found else None
    at = newest if newest is not None and now - newest <= LATE else None
    return Firing(at=at, skipped=len(found) - (at is not None), next_at=next_firing(expression, now))
