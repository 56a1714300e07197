"""What a program is told about the collector of traces, in the variables that OpenTelemetry's libraries read (pure).

Called when a replica or an attempt starts. They are defaults: the program's owner may set each of them otherwise.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal
from urllib.parse import quote, urlsplit

from homeport.core.ids import Kind, RevisionId


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramTelemetry:
    """Where programs may send what they record. `enable_sdk`: the public SDK is told to do so by itself; it sends its
    workload's token with everything, so it is told only where the operator says so."""

    endpoint: str
    protocol: Literal["grpc", "http"]
    enable_sdk: bool = False

    def variables(
        self, workspace: str, kind: Kind, name: str, revision: RevisionId, *, contained: bool
    ) -> dict[str, str]:
        """contained: the program has a network of its own, in which this machine's loopback is another; then an
        endpoint there is not named to it."""
        if contained and self.is_loopback:
            return {}
        attributes = {
            "service.namespace": workspace,
            "service.version": revision,
            "homeport.workspace": workspace,
            "homeport.kind": kind.value,
            "homeport.name": name,
            "homeport.revision": revision,
        }
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if self.protocol == "grpc" else "http/protobuf",
            "OTEL_SERVICE_NAME": name,
            "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{key}={quote(value, safe='')}" for key, value in attributes.items()),
            **({"BL_ENABLE_OPENTELEMETRY": "true"} if self.enable_sdk else {}),
        }

    @property
    def is_loopback(self) -> bool:
        host = urlsplit(self.endpoint).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"
