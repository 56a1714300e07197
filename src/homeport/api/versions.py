"""The contract's versions (public API reference): a date in `Blaxel-Version`, and what differs between them."""

import re

from homeport.core.errors import Rejected

PAGED = "2026-04-28"
# In order; absent means the first. The last is what the public Python SDK of today sends; it reads our answers of
# 2026-04-28 without loss.
KNOWN = ("2026-04-16", "2026-04-20", PAGED, "2026-09-22")
_FORM = re.compile(r"(\d{4}-\d{2}-\d{2})(\.preview)?", re.ASCII)
_SHOWN = 40  # characters of an unknown version that its refusal repeats


class UnknownVersion(Rejected):
    """The Blaxel-Version header names a version that does not exist."""


def paged(header: str | None) -> bool:
    """Whether lists are pages (`{data, meta}`) rather than bare arrays. Absent means the oldest version; a preview
    equals its date (public contract). Raises `UnknownVersion`."""
    if not header:
        return False
    found = _FORM.fullmatch(header)
    if found is None or found[1] not in KNOWN:
        raise UnknownVersion(f"Blaxel-Version {header[:_SHOWN]!r} is not known; the versions are {', '.join(KNOWN)}.")
    return found[1] >= PAGED
