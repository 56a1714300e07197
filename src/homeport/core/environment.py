"""The variables that a workload starts with: what its owner set, and what Homeport sets and nobody may replace.

Called by the domain packages that compose environments for replicas and tasks. It starts nothing and reads no
environment of its own: a workload inherits nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from homeport.core.errors import Invalid
from homeport.core.spec import read_bool, read_list, read_object

ENVS_MOST = 1000  # variables of one workload; the kernel's limit on a start is reached long before
_NAME_LENGTH = 256
_VALUE_BYTES = 128 * 1024 - 4096  # the kernel refuses one string above 128 KiB; room for its name

# What every unit has unless its owner says otherwise. HOME is where a program may always write.
DEFAULTS = {"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "HOME": "/tmp", "PATH": "/usr/local/bin:/usr/bin:/bin"}

# Variables through which a program finds its credential and its address: a caller's value is never used, whether
# Homeport sets one or not, so that a copied `.env` file can neither break a workload nor lend it another identity.
RESERVED = frozenset(
    {
        "HOST",
        "PORT",
        "BL_SERVER_HOST",
        "BL_SERVER_PORT",
        "BL_WORKSPACE",
        "BL_NAME",
        "BL_TYPE",
        "BL_REGION",
        "BL_ENV",
        "BL_CLOUD",
        "BL_API_URL",
        "BL_RUN_URL",
        "BL_API_KEY",
        "BL_DISABLE_H2",
        "BL_CLIENT_CREDENTIALS",
        "BL_RUN_INTERNAL_HOST",
        "BL_RUN_INTERNAL_HOSTNAME",
        "BL_EXECUTION_DATA_URL",
        "BL_EXECUTION_ID",
        "BL_EXECUTION_KEY",
        "BL_TASK_KEY",
        "HOMEPORT_TASK_DATA_INDEX",
        "TASK_INDEX",
        "TASK_COUNT",
        "TASK_ATTEMPT",
        "CLOUD_RUN_TASK_INDEX",
        "CLOUD_RUN_TASK_COUNT",
        "CLOUD_RUN_TASK_ATTEMPT",
        "DO_NOT_TRACK",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    """One variable of a spec. `secret` ones are masked wherever they are shown; the value is kept out of `repr`."""

    name: str
    value: str = field(repr=False)
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """All variables of a unit, and the names that its owner set in vain because they are reserved."""

    values: dict[str, str] = field(repr=False)
    ignored: tuple[str, ...] = ()


def read_envs(spec: Mapping[str, Any], key: str, path: str) -> tuple[EnvVar, ...]:
    """The variables in the list at `key`. Values never appear in errors: they may be secrets."""
    found: dict[str, EnvVar] = {}
    for index, item in enumerate(read_list(spec, key, path, ENVS_MOST)):
        at = f"{path}[{index}]"
        if not isinstance(item, Mapping):
            raise Invalid(at, "must be an object with name and value")
        if item.get("valueFrom") is not None:
            raise Invalid(f"{at}.valueFrom", "is not served by this version", hint="Send the value itself.")
        name = check_variable(item.get("name"), f"{at}.name")
        value = check_value(item.get("value") if item.get("value") is not None else "", f"{at}.value")
        # A later one of the same name wins, as in a shell's environment file.
        found[name] = EnvVar(name=name, value=value, secret=read_bool(item, "secret", f"{at}.secret", False))
    return tuple(found.values())


def read_configurations(spec: Mapping[str, Any]) -> tuple[EnvVar, ...]:
    """`spec.configurations`, the older contract's variables: an object of `{value, secret}` by name."""
    found = []
    configurations = read_object(spec, "configurations", "spec.configurations")
    if len(configurations) > ENVS_MOST:
        raise Invalid("spec.configurations", f"must have at most {ENVS_MOST} members", value=len(configurations))
    for name, item in configurations.items():
        at = f"spec.configurations.{''.join(name.partition('=')[:2])[:_NAME_LENGTH]}"  # what follows may be a value
        check_variable(name, at)
        if not isinstance(item, Mapping):
            raise Invalid(at, "must be an object with value and secret")
        value = check_value(item.get("value") if item.get("value") is not None else "", f"{at}.value")
        found.append(EnvVar(name=name, value=value, secret=read_bool(item, "secret", f"{at}.secret", False)))
    return tuple(found)


def check_variable(name: object, path: str) -> str:
    """`name` if the kernel and a shell can carry it, else `Invalid`."""
    if isinstance(name, str) and 0 < len(name) <= _NAME_LENGTH and not set(name) & set("=\0") and name.strip() == name:
        return name
    rule = f"must be 1 to {_NAME_LENGTH} characters without '=', NUL and blanks at its ends"
    raise Invalid(path, rule, value=name)


def check_value(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise Invalid(path, "must be a string")
    if "\0" in value:
        raise Invalid(path, "must not contain NUL")
    if len(value.encode(errors="surrogatepass")) > _VALUE_BYTES:
        raise Invalid(path, f"must have at most {_VALUE_BYTES} bytes")
    return value


class Surroundings(Protocol):
    """What a program is told of where it runs, whatever its kind."""

    @property
    def workspace(self) -> str: ...

    @property
    def region(self) -> str: ...

    @property
    def api_url(self) -> str: ...

    @property
    def run_url(self) -> str: ...

    @property
    def client_credentials(self) -> str: ...


def surroundings(kind: str, name: str, where: Surroundings) -> dict[str, str]:
    """The variables that every workload gets, as the public SDKs read them."""
    return {
        "BL_NAME": name,
        "BL_TYPE": kind,
        "BL_WORKSPACE": where.workspace,
        "BL_ENV": "prod",
        "BL_REGION": where.region,
        "BL_CLOUD": "true",
        "BL_API_URL": where.api_url,
        "BL_RUN_URL": where.run_url,
        "BL_CLIENT_CREDENTIALS": where.client_credentials,
        "BL_DISABLE_H2": "1",  # else the public TypeScript SDK may send the key to the vendor's own edge
        "DO_NOT_TRACK": "1",
    }


def compose(defaults: Mapping[str, str], own: Iterable[EnvVar], platform: Mapping[str, str]) -> Environment:
    """`defaults`, replaced by the owner's variables, replaced by the platform's. Reserved names come from the
    platform only; those that the owner set are named in the answer."""
    values = dict(defaults)
    ignored: list[str] = []
    for variable in own:
        if variable.name in RESERVED or variable.name in platform:
            ignored.append(variable.name)
        else:
            values[variable.name] = variable.value
    values.update(platform)
    return Environment(values=values, ignored=tuple(sorted(set(ignored))))
