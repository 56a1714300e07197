"""When a job goes by itself, and what is no such moment."""

from datetime import timedelta
from typing import Any

import pytest

from homeport.core.errors import Invalid
from homeport.jobs.expiry import read_expiry, refuse_past
from homeport.testing.factories import NOON


def due(**runtime: Any) -> object:
    return read_expiry({"runtime": runtime}).due_at(NOON)


@pytest.mark.parametrize(
    ("ttl", "seconds"), [("30m", 1800), ("24h", 86400), ("7d", 7 * 86400), ("90s", 90), (60, 60), ("60", 60)]
)
def test_a_ttl_counts_from_the_last_deployment(ttl: object, seconds: int) -> None:
    assert due(ttl=ttl) == NOON + timedelta(seconds=seconds)


def test_expires_is_a_moment_and_the_earlier_of_the_two_counts() -> None:
    late = (NOON + timedelta(hours=2)).isoformat()
    assert due(expires=late) == NOON + timedelta(hours=2)
    assert due(expires=late, ttl="30m") == NOON + timedelta(minutes=30)
    assert due(expires=late, ttl="24h") == NOON + timedelta(hours=2)
    assert due(expires="2030-01-01t00:00:00z") == due(expires="2030-01-01T01:00:00+01:00")


def test_a_job_without_either_stays() -> None:
    assert due() is None and due(expires="", ttl="") is None and due(expires=None, ttl=None) is None


@pytest.mark.parametrize(
    "expires",
    [
        "tomorrow",
        "2030-01-01",
        "2030-01-01T00:00:00",
        "20300101T000000Z",
        "2030-13-01T00:00:00Z",
        5,
        "9999-12-31T23:59:59-23:00",
    ],
)
def test_what_is_no_moment_is_refused_by_its_field(expires: object) -> None:
    with pytest.raises(Invalid) as refused:
        due(expires=expires)
    assert refused.value.field == "spec.runtime.expires"


@pytest.mark.parametrize("ttl", [0, -1, "soon", "5y", True, 1.5, "999999999w"])
def test_what_is_no_duration_is_refused_by_its_field(ttl: object) -> None:
    with pytest.raises(Invalid) as refused:
        due(ttl=ttl)
    assert refused.value.field == "spec.runtime.ttl"


def test_a_job_that_would_go_before_it_has_come_is_refused() -> None:
    refuse_past({"runtime": {"expires": (NOON + timedelta(seconds=1)).isoformat()}}, NOON)
    with pytest.raises(Invalid, match="must lie in the future"):
        refuse_past({"runtime": {"expires": NOON.isoformat()}}, NOON)
