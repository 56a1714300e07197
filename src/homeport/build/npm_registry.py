"""The operator's way to the npm registry, handed to builds as variables. Called by the builder.

A sandbox sees neither the operator's home nor their environment. What npm is told there about registries, proxies and
certificates is collected here under names that npm and pnpm read; variables win over the user's .npmrc, as in npm. The
file of the installation (PREFIX/etc/npmrc) stands beside npm and needs no help. A token for a registry is handed over
with its address, as those of Python indexes are: whoever installs must be able to read it. Give builds one that can
only read.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from homeport.build.registry import Registry, existing_paths, way_out

_PREFIX = "npm_config_"
_KEYS = frozenset(
    """
    registry cafile ca proxy https-proxy noproxy strict-ssl nodedir maxsockets fetch-retries fetch-retry-factor
    fetch-retry-maxtimeout fetch-retry-mintimeout fetch-timeout replace-registry-host omit-lockfile-registry-resolved
    """.split()  # noqa: SIM905 one list a line would fill the page
)
_LINE = re.compile(r"\s*([^;#\s=][^=]*?)\s*=\s*(.*?)\s*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CERTIFICATES = "NODE_EXTRA_CA_CERTS"


def npm_registry(python: Registry, environ: Mapping[str, str] | None = None) -> Registry:
    """What a build of a Node.js source needs to reach its registry. python: what builds with uv are given, of which
    proxies and certificates serve here too."""
    environ = os.environ if environ is None else environ
    told = _of_file(environ) | _of_variables(environ)
    env = {**way_out(python.env), **{f"{_PREFIX}{_as_variable(key)}": value for key, value in told.items()}}
    extra = environ.get(_CERTIFICATES) or python.env.get("SSL_CERT_FILE")
    if extra:
        env[_CERTIFICATES] = extra
    named = [path for path in (told.get("cafile"), extra) if path]
    return Registry(env=env, mounts=existing_paths(named))


def _as_variable(key: str) -> str:
    return key if key.startswith(("//", "@")) else key.replace("-", "_")


def _of_variables(environ: Mapping[str, str]) -> dict[str, str]:
    told: dict[str, str] = {}
    for name, value in environ.items():
        if name.lower().startswith(_PREFIX) and value:
            key = name[len(_PREFIX) :]
            told[key if key.startswith("//") else key.lower().replace("_", "-")] = value
    return {key: value for key, value in told.items() if _is_passed_on(key)}


def _of_file(environ: Mapping[str, str]) -> dict[str, str]:
    chosen = environ.get("NPM_CONFIG_USERCONFIG") or environ.get("npm_config_userconfig")
    path = Path(chosen) if chosen else Path(environ["HOME"]) / ".npmrc" if environ.get("HOME") else None
    if path is None or not path.is_file():
        return {}
    told: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if (match := _LINE.fullmatch(line)) and _is_passed_on(match[1]):
            value = _VARIABLE.sub(lambda found: environ.get(found[1], ""), match[2].strip("\"'"))
            if value:
                told[match[1]] = value
    return told


def _is_passed_on(key: str) -> bool:
    return key in _KEYS or key.startswith("//") or (key.startswith("@") and key.endswith(":registry"))
