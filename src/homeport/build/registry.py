"""The operator's way to the package registry, made explicit for builds: mirrors, proxies, certificates, wheel folders.

Called once by the composition root. A sandbox inherits nothing, so whatever pip and uv are told on this machine, by
variables or by files, is collected here and handed to builds by name. uv's own settings win over pip's, variables win
over files, as in the tools. Credentials inside index addresses are handed over with them: a build that installs from
an index must be able to read it. Keyrings and .netrc are not handed over: they hold more than the index.
"""

import configparser
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from homeport.core.errors import Invalid
from homeport.core.units import Mount

CONFIG_HOME = "/build/config"  # XDG_CONFIG_HOME of a build
CONFIG_DIRS = "/build/system"  # XDG_CONFIG_DIRS of a build

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT")
_UV = """
    UV_DEFAULT_INDEX UV_INDEX_URL UV_INDEX UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_INDEX_STRATEGY UV_INSECURE_HOST
    UV_HTTP_TIMEOUT UV_HTTP_RETRIES UV_OFFLINE UV_SYSTEM_CERTS UV_NATIVE_TLS UV_EXCLUDE_NEWER UV_TORCH_BACKEND
    UV_CONCURRENT_DOWNLOADS UV_CONCURRENT_BUILDS UV_CONCURRENT_INSTALLS
    """.split()  # noqa: SIM905 one list a line would fill the page
_NO_INDEX = "--no-index"  # uv has an argument for it and no variable
# What pip is told, and what uv calls it. uv splits folders at commas and everything else at spaces.
_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": _NO_INDEX,
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "HTTPS_PROXY",
}
_ALREADY = {"UV_DEFAULT_INDEX": ("UV_INDEX_URL",), "UV_INDEX": ("UV_EXTRA_INDEX_URL",)}  # older names of the same
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # certificate files of other tools, where none is named for uv


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """What a build needs to reach the registry: variables, arguments of every `uv` that installs, and the files and
    folders that they name (read-only)."""

    env: dict[str, str]
    arguments: tuple[str, ...] = ()
    mounts: tuple[Mount, ...]


def registry(environ: Mapping[str, str] | None = None, root: Path = Path("/")) -> Registry:
    """The configuration in `environ` (by default this process's) and in the files of the system below `root` and of
    the user. Raises `Invalid` for a pip configuration that cannot be read."""
    environ = os.environ if environ is None else environ
    env = {name: value for name, value in environ.items() if value and _is_passed_on(name)}
    told = _told_to_pip(environ, root)
    alone = told.pop(_NO_INDEX, "0").lower() in ("1", "true", "yes", "on")
    for name, value in told.items():
        if not any(known in env for known in (name, name.lower(), *_ALREADY.get(name, ()))):
            env[name] = value
    bundle = next((environ[name] for name in _BUNDLES if environ.get(name)), None)
    if bundle and "SSL_CERT_FILE" not in env:
        env["SSL_CERT_FILE"] = bundle
    configs = _uv_configs(environ, root)
    if configs:
        env |= {"XDG_CONFIG_HOME": CONFIG_HOME, "XDG_CONFIG_DIRS": CONFIG_DIRS}
    arguments = (_NO_INDEX,) if alone else ()
    return Registry(env=env, arguments=arguments, mounts=(*configs, *_named_paths(env)))


def way_out(env: Mapping[str, str]) -> dict[str, str]:
    """Of a build's variables those that any program understands: proxies and certificates."""
    return {name: value for name, value in env.items() if name.upper() in _PROXIES or name in _CERTIFICATES}


def _is_passed_on(name: str) -> bool:
    is_credential = name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD"))
    return is_credential or name.upper() in _PROXIES or name in _CERTIFICATES or name in _UV


def _told_to_pip(environ: Mapping[str, str], root: Path) -> dict[str, str]:
    told: dict[str, str] = {}
    for path in _pip_files(environ, root):
        told |= _read_pip(path)
    for option in _PIP:
        if value := environ.get("PIP_" + option.upper().replace("-", "_")):
            told[option] = value
    return {_PIP[option]: _as_uv(option, value) for option, value in told.items() if value.split()}


def _as_uv(option: str, value: str) -> str:
    return ("," if option == "find-links" else " ").join(shlex.split(value))


def _pip_files(environ: Mapping[str, str], root: Path) -> list[Path]:
    """pip's configuration files, the weakest first."""
    if (chosen := environ.get("PIP_CONFIG_FILE")) == os.devnull:
        return []
    files = [root / "etc/xdg/pip/pip.conf", root / "etc/pip.conf"]
    if home := environ.get("HOME"):
        files.append(Path(home) / ".pip/pip.conf")
    if config := _config_home(environ):
        files.append(config / "pip/pip.conf")
    return [*files, Path(chosen)] if chosen else files


def _config_home(environ: Mapping[str, str]) -> Path | None:
    if chosen := environ.get("XDG_CONFIG_HOME"):
        return Path(chosen)
    return Path(environ["HOME"]) / ".config" if environ.get("HOME") else None


def _read_pip(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as exc:
        raise Invalid(str(path), f"must be a pip configuration that can be read: {exc}") from exc
    found: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found |= {option: value for option, value in parser.items(section) if option in _PIP}
    return found


def _uv_configs(environ: Mapping[str, str], root: Path) -> tuple[Mount, ...]:
    chosen = environ.get("UV_CONFIG_FILE")
    config = _config_home(environ)
    user = Path(chosen) if chosen else config / "uv/uv.toml" if config else None
    places = [(root / "etc/uv/uv.toml", f"{CONFIG_DIRS}/uv/uv.toml"), (user, f"{CONFIG_HOME}/uv/uv.toml")]
    return tuple(Mount(source=str(path), target=target) for path, target in places if path and path.is_file())


def _named_paths(env: Mapping[str, str]) -> tuple[Mount, ...]:
    """The files and folders that the variables name."""
    named = [env[name] for name in _CERTIFICATES if name in env]
    for folder in env.get("UV_FIND_LINKS", "").split(","):
        named.append(folder.strip().removeprefix("file://"))
    return existing_paths(named)


def existing_paths(named: Iterable[str]) -> tuple[Mount, ...]:
    """Each file and folder that exists, at its own path. What stands below /usr is shown in every sandbox anyway."""
    paths = dict.fromkeys(Path(name) for name in named if name.startswith("/"))
    return tuple(
        Mount(source=str(path), target=str(path))
        for path in sorted(paths)
        if path.exists() and not path.is_relative_to("/usr") and paths.keys().isdisjoint(path.parents)
    )
