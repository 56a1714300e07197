"""The level of a line, read from the line."""

import pytest

from homeport.app.severity import Severity, severity_of


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("INFO:     Started server process [2]", Severity.INFO),
        ("2026-01-31 12:00:00,123 - app.worker - ERROR - no answer", Severity.ERROR),
        ("2026-01-31T12:00:00.1Z WARN disk is nearly full", Severity.WARNING),
        ("[debug] looking", Severity.DEBUG),
        ("warning: unused variable", Severity.WARNING),
        ("CRITICAL:root:out of paper", Severity.FATAL),
        ('{"message": "hi", "severity": "ERROR", "labels": {}}', Severity.ERROR),
        ('{"level":"trace","msg":"x"}', Severity.TRACE),
        ("info about the trip", Severity.INFO),
        ("error rates are fine", Severity.INFO),
        ("INFORMATION", Severity.INFO),
        ("", Severity.INFO),
    ],
)
def test_a_level_is_read_from_the_beginning_of_a_line(text: str, level: Severity) -> None:
    assert severity_of(text, "stdout") is level


def test_standard_error_without_a_level_counts_as_an_error() -> None:
    assert severity_of("Traceback (most recent call last):", "stderr") is Severity.ERROR
    assert severity_of("INFO:     Application startup complete.", "stderr") is Severity.INFO
