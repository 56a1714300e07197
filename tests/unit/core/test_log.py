"""What fails over and over does not drown the log."""

import logging

import pytest

from homeport.core import log as logs


def test_repeated_warnings_are_counted_instead_of_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "REPEATS_S", 3600.0)
    filter_ = logs._Repeats()
    record = logging.LogRecord("store", logging.WARNING, "", 0, "the disk of %s is full", ("/x",), None)
    passed = sum(filter_.filter(record) for _ in range(1000))
    assert passed == logs.REPEATS_MOST
    other = logging.LogRecord("store", logging.WARNING, "", 0, "something else", (), None)
    assert filter_.filter(other), "another kind is not held back"
    info = logging.LogRecord("store", logging.INFO, "", 0, "the disk of %s is full", ("/x",), None)
    assert all(filter_.filter(info) for _ in range(100)), "nor is what is no warning"
    monkeypatch.setattr(logs, "REPEATS_S", 0.0)
    assert filter_.filter(record)
    assert record.getMessage() == "the disk of /x is full (980 more of this kind were left out)"
