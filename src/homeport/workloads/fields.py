"""What becomes of each field of an agent; see `homeport.core.fields`."""

from collections.abc import Mapping
from typing import Any

from homeport.core.fields import METADATA, WORKLOAD, acts, refused, registry


def _max_scale(spec: Mapping[str, Any]) -> str:
    runtime = spec.get("runtime") or {}
    wanted = max(1, runtime.get("minScale") or 0)
    above = (runtime.get("maxScale") or 0) > wanted
    return f"nothing scales with load in this version; minScale replicas run, here {wanted}" if above else ""


AGENT_FIELDS = registry(
    METADATA,
    WORKLOAD,
    (
        acts("spec.public", "true serves without a key"),
        acts("spec.runtime.minScale", "so many replicas run, one at the least"),
        acts("spec.runtime.maxScale", "no more replicas run, and a larger minScale is 400", _max_scale),
        refused("spec.runtime.command", "400: for jobs only"),
        refused("spec.runtime.args", "400: for jobs only"),
        refused("spec.volumes[].name", "400: this version has no volumes"),
        refused("spec.volumes[].mountPath", "400: this version has no volumes"),
        refused("spec.volumes[].readOnly", "400: this version has no volumes"),
    ),
)
