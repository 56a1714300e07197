"""What still needs an old signing key, by when it signed."""

from datetime import UTC, datetime, timedelta

import pytest

from homeport.identity.rotation import Given, needs, reigns

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_key_signed_from_its_making_until_the_next_one_came() -> None:
    newest, middle, oldest = reigns([NOON, NOON - HOUR, None])
    assert NOON in newest and NOON + 1000 * HOUR in newest and NOON - HOUR not in newest
    assert NOON - HOUR in middle and NOON not in middle
    assert NOON - 10_000 * HOUR in oldest and NOON - HOUR not in oldest


def test_a_key_is_needed_as_long_as_something_it_signed_is_in_force() -> None:
    old = reigns([NOON, None])[1]
    given = Given(
        keys=[(NOON - HOUR, None), (NOON - HOUR, NOON + HOUR), (NOON - HOUR, NOON + 9 * HOUR), (NOON + HOUR, None)],
        accounts=[NOON - HOUR, NOON + HOUR],
        programs=[NOON - HOUR, NOON - HOUR],
        tasks=[NOON + HOUR],
    )
    found = needs(old, given, NOON + 1.5 * HOUR)
    assert found == [
        "2 API keys, 1 of which without an end",
        "1 service account (its secret)",
        "2 running programs (its credentials, until its next start)",
        "access tokens until 2026-01-01 14:00 UTC",
    ]
    later = Given(keys=[(NOON - HOUR, NOON + HOUR), (NOON, None)], accounts=[NOON], programs=[NOON])
    assert needs(old, later, NOON + 2 * HOUR) == []


def test_the_key_that_signs_is_always_needed() -> None:
    with pytest.raises(ValueError, match="always needed"):
        needs(reigns([NOON])[0], Given(), NOON)
