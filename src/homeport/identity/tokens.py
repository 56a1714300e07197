"""Access tokens of programs: how long they live, and by which `jti` they are refused before their time.

Tokens are not recorded when they are issued. Those of one account share a `jti` for an hour, so that all that may
still be valid can be named when the account goes. Functions of values; no I/O.
"""

from datetime import UTC, datetime, timedelta

LIFETIME_S = 2 * 3600  # public contract: access tokens live two hours
_WINDOW_S = 3600


def token_jti(client_id: str, now: datetime) -> str:
    """The `jti` of tokens that are issued to this account now."""
    return f"{client_id}.{_window(now)}"


def live_token_jtis(client_id: str, now: datetime) -> list[tuple[str, datetime]]:
    """Every `jti` under which a token of this account may still be valid, with the moment when the last one ends."""
    oldest = _window(now - timedelta(seconds=LIFETIME_S))
    return [(f"{client_id}.{window}", _end(window)) for window in range(oldest, _window(now) + 1)]


def _window(moment: datetime) -> int:
    return int(moment.timestamp()) // _WINDOW_S


def _end(window: int) -> datetime:
    return datetime.fromtimestamp((window + 1) * _WINDOW_S + LIFETIME_S, UTC)
