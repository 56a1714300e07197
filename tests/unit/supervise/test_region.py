"""The operator's word on the region in config.toml."""

import tomllib
from pathlib import Path

import pytest

from homeport.core.errors import Invalid
from homeport.supervise.region import set_local_region


def local(config: Path) -> dict[str, str]:
    table: dict[str, str] = tomllib.loads(config.read_text())["regions"]["local"]
    return table


def test_a_new_file_is_made(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    set_local_region(config, "de", "eu")
    assert local(config) == {"country": "DE", "continent": "EU"}


def test_what_else_the_file_says_is_kept(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('# mine\n[regions.local]\ncountry = "FR"\nname = "attic"\n\n[limits]\nagents = 3\n')
    set_local_region(config, "DE", None)
    assert local(config) == {"country": "DE", "name": "attic"}
    assert config.read_text().startswith("# mine\n")
    assert tomllib.loads(config.read_text())["limits"] == {"agents": 3}


def test_repeating_it_changes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    set_local_region(config, "DE", "EU")
    first = config.read_text()
    set_local_region(config, "DE", "EU")
    assert config.read_text() == first


def test_without_a_word_no_file_is_made(tmp_path: Path) -> None:
    set_local_region(tmp_path / "config.toml", None, None)
    assert not (tmp_path / "config.toml").exists()


@pytest.mark.parametrize(("country", "continent"), [("Germany", None), ("D1", None), (None, "Europe"), (None, "XX")])
def test_values_that_are_no_codes_are_refused(tmp_path: Path, country: str | None, continent: str | None) -> None:
    with pytest.raises(Invalid):
        set_local_region(tmp_path / "config.toml", country, continent)


def test_a_file_that_spells_the_table_otherwise_is_left_alone(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    written = 'regions = { local = { country = "FR" } }\n'
    config.write_text(written)
    with pytest.raises(Invalid, match="cannot be changed safely"):
        set_local_region(config, "DE", None)
    assert config.read_text() == written
