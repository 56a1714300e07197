"""What becomes of each field of an agent or a function; see `homeport.core.fields`."""

from collections.abc import Mapping
from typing import Any

from homeport.core.fields import METADATA, WORKLOAD, acts, no_effect, refused, registry


def _max_scale(spec: Mapping[str, Any]) -> str:
    runtime = spec.get("runtime") or {}
    wanted = max(1, runtime.get("minScale") or 0)
    above = (runtime.get("maxScale") or 0) > wanted
    return f"nothing scales with load in this version; minScale replicas run, here {wanted}" if above else ""


def _other_type(value: object) -> str:
    return "" if value == "mcp" else "every function is an MCP server"


_SERVING = (
    acts("spec.public", "true serves without a key"),
    acts("spec.runtime.minScale", "so many replicas run, one at the least"),
    acts("spec.runtime.maxScale", "no more replicas run, and a larger minScale is 400", _max_scale),
    refused("spec.runtime.command", "400: for jobs only"),
    refused("spec.runtime.args", "400: for jobs only"),
)
AGENT_FIELDS = registry(
    METADATA,
    WORKLOAD,
    _SERVING,
    (
        refused("spec.volumes[].name", "400: this version has no volumes"),
        refused("spec.volumes[].mountPath", "400: this version has no volumes"),
        refused("spec.volumes[].readOnly", "400: this version has no volumes"),
    ),
)
_PORT = "a program listens at the port that it is told in PORT"
FUNCTION_FIELDS = registry(
    METADATA,
    WORKLOAD,
    _SERVING,
    (
        acts("spec.type", "`mcp`, as older clients send it", lambda spec: _other_type(spec.get("type"))),
        acts(
            "spec.runtime.transport",
            "`http-stream` or `websocket`: how the program speaks MCP; the gateway passes both",
        ),
        acts(
            "spec.runtime.type",
            "`mcp`, as older clients send it",
            lambda spec: _other_type((spec.get("runtime") or {}).get("type")),
        ),
        no_effect("spec.runtime.ports", _PORT),
        no_effect("spec.runtime.ports[].name", _PORT),
        no_effect("spec.runtime.ports[].protocol", _PORT),
        no_effect("spec.runtime.ports[].target", _PORT),
    ),
)
