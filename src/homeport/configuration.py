"""DATA/config.toml: what the operator says of this installation. Optional, and so is each key in it.

One class for each table, one field for each key: a new key is one field here and its row in docs/configuration.md (a
test compares the two). Read by the server at its start and by `homeport up` before it starts anything. It stands apart
from `homeport.settings`, which the command line and the edge import and which therefore does without pydantic.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from homeport.core.errors import Unavailable
from homeport.core.limits import (
    BODY_BYTES,
    BUILD_TIMEOUT_S,
    EPHEMERAL_MB,
    IDLE_TIMEOUT_S,
    MIB,
    REQUEST_TIMEOUT_S,
    UNPACKED_BYTES,
    UNPACKED_FILES,
    UNPACKED_FILES_MOST,
    UNPACKED_MB_MOST,
    UPLOAD_BYTES,
    UPLOAD_MB_MOST,
    VOLUME_MB,
    VOLUME_MB_MOST,
    WEBSOCKET_IDLE_S,
    WORKSPACE_VOLUMES_MB,
    CallLimits,
)
from homeport.policy.inventory import ALIAS, ANYWHERE
from homeport.policy.rules import CONTINENTS
from homeport.wire.invalid import problems
from homeport.workloads.addresses import DOMAIN

LOCAL = "local"  # the region that is this machine
PROCESS, DOCKER = "process", "docker"  # drivers: programs in sandboxes of this machine; images on an engine
_FLAVOR = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}/(cpu|gpu)")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_DOMAIN_LENGTH = 180  # a host name has at most 253, and a workload's part of it 63
_OPTIONS_MOST = 20  # names or flavors of one machine


def _country(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[A-Za-z]{2}", value):
        raise ValueError('must be two letters (ISO 3166-1) such as "DE"')
    return value


def _continent(value: str | None) -> str | None:
    if value is not None and value.upper() not in CONTINENTS:
        raise ValueError(f"must be one of {', '.join(CONTINENTS)}")
    return value


def _location(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\S([^\x00-\x1f\x7f]{0,62}\S)?", value):
        raise ValueError("must be 1 to 64 characters without control characters or blanks around them")
    return value


def _aliases(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not ALIAS.fullmatch(value):
            raise ValueError(f"must hold names of lower-case letters, digits and hyphens (got {value!r})")
        if value in (LOCAL, ANYWHERE):
            raise ValueError(f"must not hold {value!r}, which has a meaning of its own")
    return _once(values)


def _flavors(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for value in values or ():
        if not _FLAVOR.fullmatch(value):
            raise ValueError(f'must hold flavors such as "x86/cpu" or "t4/gpu" (got {value!r})')
    return None if values is None else _once(values)


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"must hold each value once (got {value!r} twice)")
    return values


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ip_network(value)
        except ValueError as exc:
            raise ValueError(f'must hold networks such as "10.0.0.0/8" (got {value!r}: {exc})') from exc
    return _once(values)


def _engine(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"unix:///\S+|tcp://[^\s/@]+:\d+|ssh://[^\s/:]+(:\d+)?", value):
        raise ValueError('must be "unix:///path", "tcp://host:port" with TLS files, or "ssh://[user@]host[:port]"')
    return value


def _programs_at(value: str | None) -> str | None:
    if value is not None:
        try:
            address = ip_address(value)
        except ValueError:
            address = None
        if address is None or address.is_unspecified or address.is_multicast:
            raise ValueError('must be one IP address of the engine\'s machine, such as "10.0.0.7"')
    return value


def _gateway_url(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"https?://([\w.-]+|\[[0-9a-fA-F:]+\])(:\d+)?/?", value):
        raise ValueError('must be "http://host:port" or "https://host", without a path')
    return value.rstrip("/") if value else value


def _otlp_endpoint(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"https?://([\w.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?(/[\w./~-]*)?", value):
        raise ValueError('must be "http://host:port" or "https://host:port", for HTTP with a path if need be')
    return value.rstrip("/") if value else value


def _domain(value: str) -> str:
    if not _DOMAIN.fullmatch(value) or len(value) > _DOMAIN_LENGTH:
        raise ValueError(
            'must be a domain of lower-case letters, digits, hyphens and dots, such as "agents.example.com"'
        )
    return value


def _regions(regions: Mapping[str, "RegionTable"]) -> Mapping[str, "RegionTable"]:
    for name, table in regions.items():
        if name == LOCAL and table.driver != PROCESS:
            raise ValueError(f'.{LOCAL} must have the driver "{PROCESS}"; give an engine a region of its own')
        if name != LOCAL and table.driver == PROCESS:
            raise ValueError(
                f'.{name} must have driver = "{DOCKER}" and an engine: programs run in [regions.{LOCAL}] only; '
                f'to let another name mean that, write aliases = ["{name}"] there'
            )
        if name == ANYWHERE or not ALIAS.fullmatch(name):
            raise ValueError(f'.{name} must have a name of lower-case letters, digits and hyphens, other than "auto"')
    names = [*regions, *(alias for table in regions.values() for alias in table.aliases)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"must give each name once, aliases included (got {name!r} twice)")
    return regions


class Table(BaseModel):
    """One table of the file. Types are strict and unknown keys refused: a limit that is misspelt must not be one that
    silently does not hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RegionTable(Table):
    """[regions.NAME]: a place where workloads run. `local` is this machine and runs programs; any other is an engine's,
    and runs images. Where it stands is the operator's word: what is not said is unknown, and matches no policy that
    asks for it."""

    driver: Literal["process", "docker"] = "process"
    engine: Annotated[str | None, AfterValidator(_engine)] = None
    engine_ca: str | None = None
    engine_cert: str | None = None
    engine_key: str | None = None
    programs_at: Annotated[str | None, AfterValidator(_programs_at)] = None
    gateway_url: Annotated[str | None, AfterValidator(_gateway_url)] = None

    country: Annotated[str | None, AfterValidator(_country)] = None
    continent: Annotated[str | None, AfterValidator(_continent)] = None
    location: Annotated[str | None, AfterValidator(_location)] = None
    aliases: Annotated[tuple[str, ...], Field(max_length=_OPTIONS_MOST, strict=False), AfterValidator(_aliases)] = ()
    flavors: Annotated[
        tuple[str, ...] | None,
        Field(min_length=1, max_length=_OPTIONS_MOST, strict=False),
        AfterValidator(_flavors),
    ] = None

    @model_validator(mode="after")
    def _whole(self) -> "RegionTable":
        tls = (self.engine_ca, self.engine_cert, self.engine_key)
        distant = (self.programs_at, self.gateway_url)
        if self.driver == PROCESS and {self.engine, *tls, *distant} != {None}:
            raise ValueError(f'must have driver = "{DOCKER}" for an engine')
        if self.driver == DOCKER and self.engine is None:
            raise ValueError('must name an engine for the driver "docker", such as "unix:///run/docker.sock"')
        encrypted = self.engine is not None and self.engine.startswith("tcp:")
        if encrypted != all(tls) or encrypted != any(tls):
            raise ValueError("must have engine_ca, engine_cert and engine_key where the engine is a tcp address only")
        if self.remote and self.programs_at is None:
            raise ValueError(
                "must have programs_at where the engine is on another machine: the address there at which the ports of "
                'programs are published and the gateway reaches them, such as "10.0.0.7"'
            )
        if not self.remote and distant != (None, None):
            raise ValueError(
                "must have programs_at and gateway_url only where the engine is on another machine: on this one "
                "nothing is published, and programs reach the gateway without them"
            )
        return self

    @property
    def remote(self) -> bool:
        """Whether it has an engine on another machine."""
        return self.engine is not None and not self.engine.startswith("unix:")


class Limits(Table):
    """[limits]: how much is accepted, and how long things may take. Megabytes are 2**20 bytes."""

    body_mb: Annotated[int, Field(ge=1, le=1024)] = BODY_BYTES // MIB
    upload_mb: Annotated[int, Field(ge=1, le=UPLOAD_MB_MOST)] = UPLOAD_BYTES // MIB
    unpacked_mb: Annotated[int, Field(ge=1, le=UNPACKED_MB_MOST)] = UNPACKED_BYTES // MIB
    unpacked_files: Annotated[int, Field(ge=1, le=UNPACKED_FILES_MOST)] = UNPACKED_FILES
    build_timeout_s: Annotated[int, Field(ge=10, le=24 * 3600)] = BUILD_TIMEOUT_S
    call_idle_s: Annotated[int, Field(ge=1, le=24 * 3600)] = IDLE_TIMEOUT_S
    call_timeout_s: Annotated[int, Field(ge=1, le=24 * 3600)] = REQUEST_TIMEOUT_S
    websocket_idle_s: Annotated[int, Field(ge=1, le=24 * 3600)] = WEBSOCKET_IDLE_S

    @property
    def calls(self) -> CallLimits:
        return CallLimits(idle_s=self.call_idle_s, total_s=self.call_timeout_s, websocket_idle_s=self.websocket_idle_s)


class GatewayTable(Table):
    """[gateway]: where workloads are reached besides their paths."""

    domain: Annotated[str, AfterValidator(_domain)] = DOMAIN


class Sources(Table):
    """[sources]: which repositories are fetched, and how much of them."""

    allow_file_repositories: bool = False
    allow_http_repositories: bool = False
    submodules: bool = False
    repository_mb: Annotated[int, Field(ge=1, le=64 * 1024)] = 1024
    repository_timeout_s: Annotated[int, Field(ge=5, le=3600)] = 300


class ImagesTable(Table):
    """[images]: how long images are kept that no kept revision runs."""

    unused_days: Annotated[int, Field(ge=0, le=3650)] = 14
    unused_tags: Annotated[int, Field(ge=0, le=1000)] = 5


class VolumesTable(Table):
    """[volumes]: whether there are volumes, and how large they may be: one, all of a workspace, and those of one
    program that begin empty and go with it."""

    enabled: bool = True
    volume_mb: Annotated[int, Field(ge=1, le=VOLUME_MB_MOST)] = VOLUME_MB
    workspace_mb: Annotated[int, Field(ge=1, le=VOLUME_MB_MOST)] = WORKSPACE_VOLUMES_MB
    ephemeral_mb: Annotated[int, Field(ge=1, le=VOLUME_MB_MOST)] = EPHEMERAL_MB


class Builds(Table):
    """[builds]: what builds of Dockerfiles leave on the engines."""

    engine_cache_mb: Annotated[int, Field(ge=0, le=1024 * 1024)] = 10 * 1024


class InvocationsTable(Table):
    """[invocations]: how many asynchronous calls wait and run, what is kept of them, and where their results may go."""

    body_mb: Annotated[int, Field(ge=1, le=64)] = 4
    answer_kb: Annotated[int, Field(ge=1, le=64 * 1024)] = 1024
    waiting: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    parallel: Annotated[int, Field(ge=1, le=10_000)] = 200
    parallel_per_agent: Annotated[int, Field(ge=1, le=10_000)] = 20
    parallel_callbacks: Annotated[int, Field(ge=1, le=1000)] = 20
    wait_hours: Annotated[int, Field(ge=1, le=30 * 24)] = 24
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 7
    keep_calls: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    callback_networks: Annotated[
        tuple[str, ...], Field(max_length=_OPTIONS_MOST, strict=False), AfterValidator(_networks)
    ] = ()


class Telemetry(Table):
    """[telemetry]: where traces go. Without an endpoint there are none."""

    otlp_endpoint: Annotated[str | None, AfterValidator(_otlp_endpoint)] = None
    otlp_protocol: Literal["grpc", "http"] = "grpc"
    otlp_headers_file: str | None = None
    otlp_ca: str | None = None
    sampled_percent: Annotated[float, Field(ge=0, le=100, strict=False)] = 10.0
    programs: bool = True
    enable_sdk: bool = False

    @model_validator(mode="after")
    def _whole(self) -> "Telemetry":
        if self.otlp_endpoint is None and self.model_fields_set - {"otlp_endpoint"}:
            raise ValueError("must have otlp_endpoint for the other keys to mean something")
        if self.otlp_ca is not None and not (self.otlp_endpoint or "").startswith("https:"):
            raise ValueError("must have otlp_ca only where otlp_endpoint is https")
        if self.otlp_protocol == "grpc" and self.otlp_endpoint is not None and urlsplit(self.otlp_endpoint).path:
            raise ValueError('must have an otlp_endpoint without a path where otlp_protocol is "grpc"')
        if self.enable_sdk and not (self.programs and self.otlp_protocol == "http"):
            raise ValueError('must have programs = true and otlp_protocol = "http" for enable_sdk')
        return self


class Configuration(Table):
    """The whole file."""

    regions: Annotated[dict[str, RegionTable], AfterValidator(_regions)] = Field(default_factory=dict)
    limits: Limits = Limits()
    gateway: GatewayTable = GatewayTable()
    sources: Sources = Sources()
    images: ImagesTable = ImagesTable()
    builds: Builds = Builds()
    invocations: InvocationsTable = InvocationsTable()
    telemetry: Telemetry = Telemetry()
    volumes: VolumesTable = VolumesTable()

    @property
    def local(self) -> RegionTable:
        return self.regions.get(LOCAL, RegionTable())


def read_configuration(config: Path) -> Configuration:
    """What `config` says; all defaults where there is no such file. Raises `Unavailable` with the file, the key, the
    rule and the next step."""
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Configuration()
    except (OSError, ValueError) as exc:  # a ValueError is what no TOML and no UTF-8 raise
        raise _broken(config, [f"it is no readable TOML ({exc})"]) from exc
    try:
        return Configuration.model_validate(content)
    except ValidationError as exc:
        raise _broken(config, [_problem(item) for item in exc.errors(include_url=False)]) from exc


def _problem(item: Mapping[str, Any]) -> str:
    place, name = item["loc"], item["loc"][-1]
    if item["type"] == "extra_forbidden":
        known = ", ".join(sorted(_table(place[:-1]).model_fields))
        return f"{_heading(place[:-1])} has no key {name!r}; there are {known}"
    ((path, rule),) = problems([item])
    value = item.get("input")
    shown = f" (got {value!r})" if isinstance(value, str | int | float) and item["type"] != "missing" else ""
    if item["type"] == "model_type" or (item["type"] == "dict_type" and place == ("regions",)):
        return f"[{'.'.join(map(str, place))}] must be a table{shown}"
    heading = ".".join(str(part) for part in place[: 2 if place[0] == "regions" else 1])
    return f"[{heading}] {path.removeprefix(heading).removeprefix('.')} {rule}{shown}".replace("]  ", "] ")


def _table(place: Sequence[int | str]) -> type[Table]:
    if not place:
        return Configuration
    annotation = Configuration.model_fields[str(place[0])].annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Table) else RegionTable


def _heading(place: Sequence[int | str]) -> str:
    return f"[{'.'.join(map(str, place))}]" if place else "the file"


def _broken(config: Path, found: Sequence[str]) -> Unavailable:
    return Unavailable(f"{config} cannot be used: {'; '.join(found)}.", hint="Mend that and start again.")
