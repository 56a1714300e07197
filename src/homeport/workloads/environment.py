"""The variables of a replica, as the contract and the public SDKs expect them.

Called when a replica starts. The credential is the workload's own service account's, never its owner's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from homeport.core.environment import DEFAULTS, Environment, EnvVar, compose, surroundings
from homeport.core.ids import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaContext:
    """What a replica's variables are made of. `host` and `port`: where the program must listen. `client_credentials` is
    what the workload's own account signs in with (base64 of `id:secret`). `extra` are variables of the machinery, such
    as a PATH that finds the bundle's interpreter; they are defaults that the workload's owner may replace."""

    workspace: str
    kind: Kind
    name: str
    region: str
    host: str
    port: int
    api_url: str
    run_url: str
    client_credentials: str = field(repr=False)
    envs: Sequence[EnvVar] = ()
    extra: dict[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=lambda: DEFAULTS)


def replica_environment(context: ReplicaContext) -> Environment:
    """Every variable of one replica; `ignored` names what its owner set in vain, such as PORT."""
    port = str(context.port)
    platform = {
        "HOST": context.host,
        "PORT": port,
        "BL_SERVER_HOST": context.host,
        "BL_SERVER_PORT": port,
        **surroundings(context.kind, context.name, context),
    }
    return compose({**context.defaults, **context.extra}, context.envs, platform)
