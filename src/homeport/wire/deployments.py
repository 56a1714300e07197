"""Parts that workloads share on the wire (public contract): variables, triggers, revisions, events."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from homeport.wire.body import Kept, Reply

# As the contract lists them; not all of them are ever set here.
Status = Literal[
    "DELETING",
    "TERMINATED",
    "FAILED",
    "DEACTIVATED",
    "DEACTIVATING",
    "UPLOADING",
    "BUILDING",
    "DEPLOYING",
    "DEPLOYED",
    "BUILT",
]
Enabled = Annotated[bool | None, Field(json_schema_extra={"default": True})]


class EnvIn(Kept):
    name: str
    value: str | None = None
    secret: bool | None = None


class VariableIn(Kept):
    """A variable of the older contract; its name is the key."""

    value: str | None = None
    secret: bool | None = None


class PortIn(Kept):
    target: int
    name: str | None = None
    protocol: Literal["HTTP", "TCP", "UDP", "TLS"] | None = None


class RepositoryIn(Kept):
    """`secret` is this installation's own: the name of a stored secret that the address asks for."""

    type: str | None = None
    url: str | None = None
    secret: str | None = None


class RevisionConfigurationIn(Kept):
    active: str | None = None
    canary: str | None = None
    canary_percent: int | None = None
    sticky_session_ttl: int | None = None
    traffic: int | None = None


class TriggerConfigurationIn(Kept):
    authentication_type: str | None = None
    callback_url: str | None = None
    path: str | None = None
    retry: int | None = None
    schedule: str | None = None
    tasks: list[dict[str, Any]] | None = None
    timeout: int | str | None = None
    callback_secret: Annotated[str | None, Field(json_schema_extra={"readOnly": True})] = None

    @model_validator(mode="before")
    @classmethod
    def _ignore_read_only(cls, value: Any) -> Any:
        """The secret is the server's to make; a caller who sends back what it read must not set it."""
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if key != "callbackSecret"}
        return value


class TriggerIn(Kept):
    id: str | None = None
    type: Literal["http", "http-async", "cron"] | None = None
    enabled: bool | None = None
    configuration: TriggerConfigurationIn | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_configuration(cls, value: Any) -> Any:
        """`[[triggers.configuration]]` of a manifest arrives as a list of one."""
        if isinstance(value, dict) and isinstance(value.get("configuration"), list):
            given = value["configuration"]
            return {**value, "configuration": given[0]} if len(given) == 1 else value
        return value


class CoreEvent(Reply):
    """Something that happened to a workload. `reason` is an addition of ours: a constant for programs."""

    time: str
    type: str
    status: str
    message: str
    revision: str | None = None
    canary_revision: str | None = None
    reason: str | None = None


class RevisionMetadata(Reply):
    id: str
    status: str
    created_at: str
    created_by: str
    active: bool
    canary: bool = False
    previous_active: bool = False
    traffic_percent: int = 0
    source_commit: str | None = None  # this installation's own: what the source was fetched as
