"""What becomes of each field of a policy; see `homeport.core.fields`."""

from collections.abc import Callable, Mapping
from typing import Any

from homeport.core.fields import METADATA, acts, no_effect, read_only, registry


def _only(type_: str) -> Callable[[Mapping[str, Any]], str]:
    """The reason why a part that belongs to `type_` is idle in a policy of another type."""

    def why(spec: Mapping[str, Any]) -> str:
        return "" if spec.get("type") == type_ else f"only a policy of type {type_} uses it"

    return why


_NO_GATEWAY = "this version has no model gateway, so no tokens are spent"

POLICY_FIELDS = registry(
    METADATA,
    (
        acts("spec.type", "which of the parts below decides; the others have no effect"),
        acts("spec.locations", "type location: the places that are allowed", _only("location")),
        acts("spec.locations[].name", "code of the place; case does not matter"),
        acts("spec.locations[].type", "`location`, `country` or `continent`"),
        acts("spec.flavors", "type flavor: the hardware that is allowed", _only("flavor")),
        acts("spec.flavors[].name", "code name of the hardware; case does not matter"),
        acts("spec.flavors[].type", "`cpu` or `gpu`"),
        no_effect("spec.maxTokens", _NO_GATEWAY),
        no_effect("spec.maxTokens.granularity", _NO_GATEWAY),
        no_effect("spec.maxTokens.input", _NO_GATEWAY),
        no_effect("spec.maxTokens.output", _NO_GATEWAY),
        no_effect("spec.maxTokens.ratioInputOverOutput", _NO_GATEWAY),
        no_effect("spec.maxTokens.step", _NO_GATEWAY),
        no_effect("spec.maxTokens.total", _NO_GATEWAY),
        acts("spec.resourceTypes", "the kinds that it binds; absent or empty: every kind"),
        no_effect("spec.sandbox", "it marks a policy as a trial, and binds nothing"),
        read_only("usage", "in lists: how many workloads carry it"),
        read_only("usage.agents", "so many agents"),
        read_only("usage.jobs", "so many jobs"),
        read_only("usage.functions", "so many functions"),
        read_only("usage.models", "none: this version has no models"),
        read_only("usage.sandboxes", "none: this version has no sandboxes"),
    ),
)
