"""From a body to an intent, and the rule that a body names what its address names."""

from typing import Protocol

from homeport.app.context import Intent
from homeport.core.errors import Invalid
from homeport.wire.body import Kept, spec_dict
from homeport.wire.metadata import MetadataIn


class Envelope(Protocol):
    """A body of any kind with metadata and spec."""

    @property
    def metadata(self) -> MetadataIn: ...

    @property
    def spec(self) -> Kept: ...


def intent_of(body: Envelope) -> Intent:
    metadata = body.metadata
    return Intent(
        name=metadata.name,
        display_name=metadata.display_name,
        external_id=metadata.external_id,
        labels=metadata.labels or {},
        spec=spec_dict(body.spec),
    )


def same_name(intent: Intent, name: str) -> Intent:
    """Names cannot change (public contract), so an update's body must bear the name of its address."""
    if intent.name != name:
        raise Invalid(
            "metadata.name", f"must be {name!r} as in the address; names cannot be changed", value=intent.name
        )
    return intent
