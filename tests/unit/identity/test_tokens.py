"""Tokens that are recorded nowhere can all be named when their account goes."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from homeport.identity.tokens import LIFETIME_S, live_token_jtis, token_jti

MOMENTS = st.integers(1_700_000_000, 1_800_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(MOMENTS, st.floats(0, LIFETIME_S))
def test_every_token_that_is_still_valid_is_named_until_it_ends(now: datetime, age_s: float) -> None:
    issued = now - timedelta(seconds=age_s)
    named = dict(live_token_jtis("wl-a", now))
    jti = token_jti("wl-a", issued)
    assert jti in named
    assert named[jti] >= issued + timedelta(seconds=LIFETIME_S)
    assert len(named) <= 4


@given(MOMENTS)
def test_no_token_of_another_account_is_named(now: datetime) -> None:
    assert token_jti("wl-b", now) not in dict(live_token_jtis("wl-a", now))
