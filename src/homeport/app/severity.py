"""How serious a line of output is, guessed from the line itself (pure). Programs print text; only the public contract's
log search asks for a level. The numbers are those of OpenTelemetry."""

import re
from enum import IntEnum


class Severity(IntEnum):
    """The contract's levels, by name, with the number that its answers carry."""

    UNKNOWN = 0
    TRACE = 1
    DEBUG = 5
    INFO = 9
    WARNING = 13
    ERROR = 17
    FATAL = 21


_NAMES = {**{level.name: level for level in Severity}, "WARN": Severity.WARNING, "CRITICAL": Severity.FATAL}
_WORDS = "|".join(("TRACE", "DEBUG", "INFO", "WARN(?:ING)?", "ERROR", "FATAL", "CRITICAL"))
# What loggers write: `INFO:     started`, `2026-01-01 12:00:00,123 - app - ERROR - text`, `[warn] text`. A word in
# small letters counts only in brackets or before a colon, since it may be part of a sentence.
_PLAIN = re.compile(
    rf"^[^A-Za-z]*(?:T[\d:.,]+Z?\W*)?(?:[\w.]+ - )?(?:\b({_WORDS})\b|\[((?i:{_WORDS}))\]|((?i:{_WORDS})):)"
)
_JSON = re.compile(rf'"(?:severity|level|levelname)"\s*:\s*"((?i:{_WORDS}))"')
_LOOKED_AT = 400  # characters: a level stands near the beginning


def severity_of(text: str, stream: str) -> Severity:
    """The level that the line names; else ERROR for standard error, where tracebacks go, and INFO for the rest."""
    head = text[:_LOOKED_AT]
    found = _JSON.search(head) if head.startswith("{") else _PLAIN.match(head)
    if found is not None:
        return _NAMES[next(group for group in found.groups() if group).upper()]
    return Severity.ERROR if stream == "stderr" else Severity.INFO
