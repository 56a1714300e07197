"""From a request to its route table: the key that Envoy makes of each request before anything else looks at it (pure).

Used by `bootstrap`; `resources` gives each table its key. The key is the first three parts of the path, or stands for
something else: the platform's own paths, a workspace's custom paths, or a workload's host name.
"""

from typing import Any

from homeport.dataplane import headers

TYPE = "type.googleapis.com/"  # what the name of a message begins with
_HOST_PREFIXES = ("agt-", "mcp-")


def early_headers(domain: str, *removed: str) -> dict[str, Any]:
    """Before anything reads the request: `removed`, our own headers, are taken out, then the route table's key is put
    in."""
    mutations: list[dict[str, Any]] = [{"remove": name} for name in removed]
    hosted, platform = _is_host_name(domain), _is_platform()
    plain = f"{_is_workload()} || {hosted} || {platform}"
    scope = (
        f"{hosted} ? '/{'/'.join(headers.HOSTS_SCOPE)}' : {platform} ? '/{'/'.join(headers.PLATFORM_SCOPE)}' : "
        # Executions are the server's, also at the address that does not begin with /v0.
        f"({_is_below('jobs')} ? '/{'/'.join(headers.PLATFORM_SCOPE)}' : "
        f"{_is_below('models')} ? '/{'/'.join(headers.MODELS_SCOPE)}' : request.url_path)"
    )
    # Two expressions, because one cannot join texts here. The three slashes make every path long enough to have three
    # parts, so that a short one finds no scope.
    key = f"%CEL({plain} ? '' : '/{headers.PATHS_SCOPE}')%%CEL({scope})%///"
    mutations.append({"append": _overwrite(headers.SCOPE, key)})
    # The colon ends the name also where no port follows it.
    mutations.append({"append": _overwrite(headers.HOST, f"%CEL({hosted} ? request.host : '{headers.NO_HOST}')%:")})
    kind = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": TYPE + kind, "mutations": mutations},
    }


def scoped_routes(source: dict[str, Any]) -> dict[str, Any]:
    """`source`: where tables come from."""
    fragments = [_part_of(headers.SCOPE, "/", index) for index in (1, 2, 3)]
    return {
        "name": "workloads",
        "scope_key_builder": {"fragments": [*fragments, _part_of(headers.HOST, ":", 0)]},
        "rds_config_source": source,
        "scoped_rds": {"scoped_rds_config_source": source},
    }


def host_pattern(domain: str) -> str:
    """A host name of a workload's form in `domain`, with or without a port, as a regular expression."""
    prefixes = "|".join(_HOST_PREFIXES)
    return rf"({prefixes}).*\.{domain.replace('.', '[.]')}(:.*)?"


def _part_of(header: str, separator: str, index: int) -> dict[str, Any]:
    return {"header_value_extractor": {"name": header, "element_separator": separator, "index": index}}


def _overwrite(key: str, value: str) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _is_host_name(domain: str) -> str:
    starts = " || ".join(f"request.host.startsWith('{prefix}')" for prefix in _HOST_PREFIXES)
    return f"(({starts}) && (request.host.endsWith('.{domain}') || request.host.contains('.{domain}:')))"


def _is_platform() -> str:
    below = " || ".join(f"request.url_path.startsWith('/{part}/')" for part in ("v0", "oauth", ".well-known"))
    itself = " || ".join(f"request.url_path == '/{part}'" for part in ("v0", "healthz", "readyz"))
    return f"({below} || {itself})"


def _is_workload() -> str:
    """Of a workload's form: what stands there is found by its own key. The pattern is tried only where it can fit."""
    kinds = ("agents", "functions", "jobs", "models", "sandboxes")
    fits = " || ".join(f"request.url_path.contains('/{kind}/')" for kind in kinds)
    return f"(({fits}) && request.url_path.matches('^/[^/]+/({'|'.join(kinds)})/.'))"


def _is_below(kind: str) -> str:
    return f"(request.url_path.contains('/{kind}/') && request.url_path.matches('^/[^/]+/{kind}/.'))"
