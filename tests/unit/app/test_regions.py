"""The operator's configuration of places: what it may say, and how a mistake is named."""

from pathlib import Path

import pytest

from homeport.core.errors import Unavailable
from homeport.regions import read_regions


def test_without_a_configuration_the_place_is_unknown(tmp_path: Path) -> None:
    (region,) = read_regions(tmp_path / "config.toml", "process")
    assert (region.name, region.country, region.continent, region.driver) == ("local", None, None, "process")
    assert [flavor.type for flavor in region.flavors] == ["cpu"]


@pytest.mark.parametrize("content", ["", "[regions.local]", "[other]\nx = 1", '[regions.local]\ncountry = "DE"'])
def test_what_is_not_said_stays_unknown(tmp_path: Path, content: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(content)
    (region,) = read_regions(config, "process")
    assert region.continent is None


def test_country_and_continent_are_the_operators(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[regions.local]\ncountry = "DE"\ncontinent = "eu"\n')
    (region,) = read_regions(config, "process")
    assert "continent EU, country DE" in region.describe()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[regions.local", "config.toml"),
        ("[regions.mars]", "[regions.local]"),
        ("regions = 1", "[regions.local]"),
        ("[regions]\nlocal = 1", "[regions.local] must be a table"),
        ("[regions.local]\nplanet = 1", "'planet'"),
        ('[regions.local]\ncountry = "Germany"', "two letters"),
        ('[regions.local]\ncountry = "ÄÖ"', "two letters"),
        ("[regions.local]\ncountry = 49", "two letters"),
        ('[regions.local]\ncontinent = "Europe"', "EU"),
        ('[regions.local]\ncountry = "\\uD800"', "config.toml"),
    ],
)
def test_a_mistake_is_named_with_the_file(tmp_path: Path, content: str, named: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(content)
    with pytest.raises(Unavailable) as caught:
        read_regions(config, "process")
    assert str(config) in caught.value.for_caller() and named in caught.value.for_caller()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_bytes(b"\xff\xfe")
    with pytest.raises(Unavailable, match=r"config\.toml"):
        read_regions(config, "process")
    config.unlink()
    config.mkdir()
    with pytest.raises(Unavailable, match=r"config\.toml"):
        read_regions(config, "process")
