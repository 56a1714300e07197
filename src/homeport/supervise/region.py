"""The operator's word on where this machine stands: `[regions.local]` in DATA/config.toml.

Written by `up --country --continent`, read by the server. The rest of the file is the operator's and is kept as it is.
"""

import re
import tomllib
from pathlib import Path

from homeport.core.errors import Invalid
from homeport.core.private import replace_text
from homeport.policy.rules import CONTINENTS

_TABLE = "[regions.local]"


def set_local_region(config: Path, country: str | None, continent: str | None) -> None:
    """Write the given values, two letters each; None leaves what is there. Raises `Invalid` for values that are no
    codes and for a file that is not TOML."""
    values = {}
    if country is not None:
        if not re.fullmatch(r"[A-Za-z]{2}", country):
            raise Invalid("--country", "must be a two-letter code (ISO 3166), such as DE", value=country)
        values["country"] = country.upper()
    if continent is not None:
        if continent.upper() not in CONTINENTS:
            raise Invalid("--continent", f"must be one of {', '.join(CONTINENTS)}", value=continent)
        values["continent"] = continent.upper()
    if not values:
        return
    text = config.read_text() if config.exists() else ""
    changed = _with_values(text, values)
    _check(config, text, changed, values)
    replace_text(config, changed, draft_of(config))


def draft_of(config: Path) -> Path:
    """Where it is written first: no name under which an operator would keep something."""
    return config.with_name(f".{config.name}.homeport")


def _with_values(text: str, values: dict[str, str]) -> str:
    lines = text.splitlines()
    ours = [f'{key} = "{value}"' for key, value in values.items()]
    at = next((index for index, line in enumerate(lines) if line.strip() == _TABLE), None)
    if at is None:
        return "\n".join([*lines, *([""] if lines else []), _TABLE, *ours]) + "\n"
    end = next((i for i in range(at + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    kept = [line for line in lines[at + 1 : end] if line.partition("=")[0].strip() not in values]
    return "\n".join([*lines[: at + 1], *ours, *kept, *lines[end:]]) + "\n"


def _check(config: Path, before: str, after: str, values: dict[str, str]) -> None:
    """Refuse to write what does not say what was asked, for instance when the file spells the table differently."""
    try:
        tomllib.loads(before)
        written = tomllib.loads(after)["regions"]["local"]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as exc:
        lines = " and ".join(f'{key} = "{value}"' for key, value in values.items())
        hint = f"Put {lines} under {_TABLE} in it yourself."
        raise Invalid(str(config), f"cannot be changed safely: {exc}", hint=hint) from exc
    assert all(written[key] == value for key, value in values.items())
