"""What still needs a signing key that signs no more (pure). Asked by the loop that lets go of such keys, and by whoever
wants to know.

Tokens are not recorded where they are issued. So what a key has signed is told by when: everything that was given out
while it was the one that signs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from homeport.identity.tokens import LIFETIME_S

_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Reign:
    """The time in which a key signed: from its making until its successor's; None: it still does."""

    begins: datetime
    ends: datetime | None

    def __contains__(self, moment: datetime) -> bool:
        return self.begins <= moment and (self.ends is None or moment < self.ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What of the installation holds to a signing key, by when it was given out. keys: API keys that are in force, with
    their expiry. accounts: service accounts, whose secret was told once. programs: replicas that run, whose secret is
    as they were started. tasks: attempts under way, whose address is."""

    keys: Sequence[tuple[datetime, datetime | None]] = ()
    accounts: Sequence[datetime] = ()
    programs: Sequence[datetime] = ()
    tasks: Sequence[datetime] = ()


def reigns(made: Sequence[datetime | None]) -> list[Reign]:
    """Of each key, by when each was made, newest first. The oldest one is as old as can be."""
    begins = [moment or _BEGINNING for moment in made[:-1]] + [_BEGINNING]
    return [Reign(begin, begins[index - 1] if index else None) for index, begin in enumerate(begins)]


def needs(reign: Reign, given: Given, now: datetime) -> list[str]:
    """Why a key of this reign cannot go yet, in words; empty when nothing needs it. Raises ValueError for the key that
    signs."""
    if reign.ends is None:
        raise ValueError("the key that signs is always needed")
    keys = [expires for made, expires in given.keys if made in reign and (expires is None or expires > now)]
    forever = sum(expires is None for expires in keys)
    until = reign.ends + timedelta(seconds=LIFETIME_S)
    found = [
        _count(len(keys), "API key") + (f", {forever} of which without an end" if forever else "") if keys else "",
        _count(_within(reign, given.accounts), "service account") + " (its secret)",
        _count(_within(reign, given.programs), "running program") + " (its credentials, until its next start)",
        _count(_within(reign, given.tasks), "running task"),
        f"access tokens until {until:%Y-%m-%d %H:%M} UTC" if now < until else "",
    ]
    return [text for text in found if text and not text.startswith("0 ")]


def _within(reign: Reign, moments: Iterable[datetime]) -> int:
    return sum(moment in reign for moment in moments)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
