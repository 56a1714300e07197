"""Where workloads can run: the operator's configuration file read into the inventory that policies judge.

One region for now, `local`: this machine. Its flavor is detected; its country and continent are what the operator says
in DATA/config.toml, and unknown until then. Read by the server at its start.
"""

import platform
import re
import tomllib
from pathlib import Path
from typing import Any

from homeport.core.errors import Unavailable
from homeport.policy.inventory import Flavor, Region
from homeport.policy.rules import CONTINENTS

LOCAL = "local"
_MACHINES = {"x86_64": "x86", "aarch64": "arm"}


def read_regions(config: Path, driver: str) -> tuple[Region, ...]:
    """The regions of this installation. Raises `Unavailable` naming the line that must be mended."""
    said = _local_table(config)
    unknown = set(said) - {"country", "continent"}
    if unknown:
        raise _broken(
            config, f"[regions.{LOCAL}] has no setting {sorted(unknown)[0]!r}; there are country and continent"
        )
    flavor = Flavor(_MACHINES.get(platform.machine(), platform.machine()), "cpu")
    return (
        Region(
            name=LOCAL,
            country=_country(config, said.get("country")),
            continent=_continent(config, said.get("continent")),
            flavors=(flavor,),
            driver=driver,
        ),
    )


def _local_table(config: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:  # a ValueError is what no TOML and no UTF-8 raise
        raise _broken(config, str(exc)) from exc
    regions = content.get("regions", {})
    if not isinstance(regions, dict) or set(regions) - {LOCAL}:
        raise _broken(config, f"this version has one region, [regions.{LOCAL}]")
    table = regions.get(LOCAL, {})
    if not isinstance(table, dict):
        raise _broken(config, f"[regions.{LOCAL}] must be a table")
    return table


def _country(config: Path, value: object) -> str | None:
    if value is None or (isinstance(value, str) and re.fullmatch(r"[A-Za-z]{2}", value)):
        return value
    raise _broken(config, f'country must be two letters such as "DE" (got {value!r})')


def _continent(config: Path, value: object) -> str | None:
    if value is None or (isinstance(value, str) and value.upper() in CONTINENTS):
        return value
    raise _broken(config, f"continent must be one of {', '.join(CONTINENTS)} (got {value!r})")


def _broken(config: Path, what: str) -> Unavailable:
    return Unavailable(f"{config} cannot be used: {what}.", hint="Mend that line and start again.")
