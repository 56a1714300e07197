"""What becomes of each field of an agent or a function; see `homeport.core.fields`."""

from collections.abc import Mapping
from typing import Any

from homeport.core.fields import METADATA, WORKLOAD, acts, no_effect, read_only, refused, registry


def _max_scale(spec: Mapping[str, Any]) -> str:
    runtime = spec.get("runtime") or {}
    wanted = max(1, runtime.get("minScale") or 0)
    above = (runtime.get("maxScale") or 0) > wanted
    return f"nothing scales with load in this version; minScale replicas run, here {wanted}" if above else ""


def _other_type(value: object) -> str:
    return "" if value == "mcp" else "every function is an MCP server"


def _settings(spec: Mapping[str, Any], *types: str) -> list[Mapping[str, Any]]:
    """The configurations of triggers of these types; an absent type is http, or cron with a schedule."""
    items = [item for item in spec.get("triggers") or () if isinstance(item, Mapping)]
    found = [(item.get("type"), item.get("configuration") or {}) for item in items]
    return [known for type_, known in found if (type_ or "http") in types and isinstance(known, Mapping)]


def _never_fires(spec: Mapping[str, Any]) -> str:
    idle = any(not known.get("schedule") for known in _settings(spec, "cron"))
    return "a trigger of type cron without a schedule calls nobody" if idle else ""


def _never_called_back(spec: Mapping[str, Any]) -> str:
    idle = any(known.get("callbackUrl") and not known.get("schedule") for known in _settings(spec, "http"))
    return "a trigger of type http answers its caller; http-async and schedules call back" if idle else ""


_SCHEDULES = "this version has no schedules: nothing starts by itself"

# Of everything that serves requests.
_SERVING = (
    acts(
        "spec.public", "true serves without a key: its path, its host name, and its custom paths that say nothing else"
    ),
    acts("spec.revision.stickySessionTtl", "seconds that a client stays with the revision it met first; 0: not at all"),
    acts("spec.triggers", "further addresses, and how calls to them are treated"),
    acts("spec.triggers[].id", "names it; made from its type and place where it is absent or another has it too"),
    acts(
        "spec.triggers[].type",
        "`http` answers the caller, `http-async` later in the background (agents only, else 400); `cron` has no effect",
    ),
    acts("spec.triggers[].enabled", "false: its path is not served, and stays taken"),
    acts("spec.triggers[].configuration", "where and how it is called"),
    acts(
        "spec.triggers[].configuration.path",
        "it answers at `/{workspace}/{path}` and below, too; 409 where that belongs to another workload, 400 for "
        "another form or a reserved name; absent: its own path and its host name are meant",
    ),
    acts(
        "spec.triggers[].configuration.authenticationType",
        "who may call the path: `public` anybody, `private` and `blaxel` who has a key; absent: as `spec.public` says; "
        "anything else is 400",
    ),
    acts(
        "spec.triggers[].configuration.retry",
        "`http`: so many further tries for a request that never reached the program, three at the least; `http-async`: "
        "so many further attempts at a call that failed",
    ),
    acts("spec.triggers[].configuration.timeout", "seconds that a call may take, at most 900; or text such as 15m"),
    read_only("spec.triggers[].configuration.callbackSecret", "made with the first `callbackUrl`, and shown once"),
    no_effect("spec.triggers[].configuration.schedule", _SCHEDULES),
    no_effect("spec.triggers[].configuration.tasks", "tasks are for jobs"),
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
        acts(
            "spec.triggers[].type",
            "`http` answers the caller, `http-async` later in the background, `cron` calls the agent by its schedule",
            _never_fires,
        ),
        acts(
            "spec.triggers[].configuration.callbackUrl",
            "where the answer to an asynchronous call is posted",
            _never_called_back,
        ),
        acts("spec.triggers[].configuration.schedule", "when the agent is called by itself, in UTC"),
        acts("spec.triggers[].configuration.tasks", "what these calls send, one call for each"),
    ),
)
_PORT = "a program listens at the port that it is told in PORT"
FUNCTION_FIELDS = registry(
    METADATA,
    WORKLOAD,
    _SERVING,
    (
        no_effect("spec.triggers[].configuration.callbackUrl", "asynchronous calls are for agents"),
        read_only("spec.triggers[].configuration.callbackSecret", "made for agents only"),
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
