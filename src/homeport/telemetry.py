"""From the operator's [telemetry] to what Envoy exports to and what programs are told. Used where Envoy's configuration
is made: by the composition roots and by `homeport up`."""

import os
import ssl
import stat
from pathlib import Path

from homeport.configuration import Configuration
from homeport.core.errors import Unavailable
from homeport.dataplane.tracing import Collector
from homeport.workloads.telemetry import ProgramTelemetry

_HEADERS_MOST = 20
_HEADERS_BYTES = 64 * 1024


def collector_of(configuration: Configuration) -> Collector | None:
    """Where traces go, if anywhere. Raises `Unavailable` where a file that the operator names cannot be used."""
    asked = configuration.telemetry
    if asked.otlp_endpoint is None:
        return None
    return Collector(
        endpoint=asked.otlp_endpoint,
        protocol=asked.otlp_protocol,
        headers=_headers(Path(asked.otlp_headers_file)) if asked.otlp_headers_file else {},
        sampled_percent=asked.sampled_percent,
        ca=_authorities(asked.otlp_ca) if asked.otlp_endpoint.startswith("https:") else "",
    )


def program_telemetry_of(configuration: Configuration) -> ProgramTelemetry | None:
    """What programs are told about the collector: where it is, never the headers that open it."""
    asked = configuration.telemetry
    if asked.otlp_endpoint is None or not asked.programs:
        return None
    return ProgramTelemetry(endpoint=asked.otlp_endpoint, protocol=asked.otlp_protocol, enable_sdk=asked.enable_sdk)


def _headers(path: Path) -> dict[str, str]:
    """Lines of `name: value`. The file is as secret as a key, and refused where others may read it."""
    try:
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise _unusable(path, "others may read it", f"chmod 600 {path}")
            text = file.read(_HEADERS_BYTES).decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise _unusable(path, f"it cannot be read ({exc})", "Mend that and start again.") from exc
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip().replace("-", "").isalnum() or not name.isascii() or not value.strip():
            raise _unusable(path, f"line {number} is not `name: value`", "Mend that and start again.")
        if "%" in value:  # which Envoy reads as the beginning of a command
            raise _unusable(path, f"line {number} holds a %", "Use a credential without one.")
        found[name.strip()] = value.strip()
    if not 0 < len(found) <= _HEADERS_MOST:
        raise _unusable(path, f"it must have 1 to {_HEADERS_MOST} headers", "Mend that and start again.")
    return found


def _authorities(named: str | None) -> str:
    path = named or ssl.get_default_verify_paths().cafile or ""
    if not os.path.isfile(path):
        told = f"{named} is no file" if named else "this machine's certificate authorities are not found"
        raise Unavailable(f"[telemetry] {told}.", hint="Name a file of certificates (PEM) with otlp_ca.")
    return path


def _unusable(path: Path, why: str, mend: str) -> Unavailable:
    return Unavailable(f"[telemetry] otlp_headers_file {path} cannot be used: {why}.", hint=mend)
