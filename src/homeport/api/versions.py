"""The contract's versions (API reference §1.3): a date in `Blaxel-Version`, and what differs between them."""

from datetime import date

from homeport.core.errors import Rejected

OLDEST = date(2026, 4, 16)
PAGED = date(2026, 4, 28)
# The last is what the public Python SDK of today sends; it reads our answers of 2026-04-28 without loss.
_KNOWN = {OLDEST, date(2026, 4, 20), PAGED, date(2026, 9, 22)}


class UnknownVersion(Rejected):
    """The Blaxel-Version header names a version that does not exist."""


def paged(header: str | None) -> bool:
    """Whether lists are pages (`{data, meta}`) rather than bare arrays. Absent means the oldest version; a preview
    equals its date (contract §6.1). Raises `UnknownVersion`."""
    if not header:
        return False
    try:
        version = date.fromisoformat(header.removesuffix(".preview"))
    except ValueError:
        version = date.min
    if version not in _KNOWN:
        known = ", ".join(sorted(known.isoformat() for known in _KNOWN))
        raise UnknownVersion(f"Blaxel-Version {header!r} is not known; the versions are {known}.")
    return version >= PAGED
