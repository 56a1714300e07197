"""The operator's file: what it may say, how a mistake is named, and that its document tells the truth."""

import re
from pathlib import Path

import pytest

from homeport.configuration import Configuration, Table, read_configuration
from homeport.core.errors import Unavailable
from homeport.policy.inventory import Flavor, Region
from homeport.regions import regions_of

DOCUMENT = Path(__file__).parents[2] / "docs/configuration.md"


def written(tmp_path: Path, content: str) -> Path:
    config = tmp_path / "config.toml"
    config.write_text(content)
    return config


def local(config: Path) -> Region:
    (region,) = regions_of(read_configuration(config), "process")
    return region


def test_without_a_file_the_place_is_unknown_and_every_limit_is_the_default(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    assert read_configuration(config) == Configuration()
    region = local(config)
    assert (region.name, region.country, region.continent, region.driver) == ("local", None, None, "process")
    assert (region.location, region.aliases) == (None, ())
    assert [flavor.type for flavor in region.flavors] == ["cpu"]


@pytest.mark.parametrize("content", ["", "[regions.local]", "[regions]", '[regions.local]\ncountry = "DE"'])
def test_what_is_not_said_stays_unknown(tmp_path: Path, content: str) -> None:
    assert local(written(tmp_path, content)).continent is None


def test_the_place_is_the_operators_word(tmp_path: Path) -> None:
    said = 'country = "DE"\ncontinent = "eu"\nlocation = "Frankfurt am Main"\naliases = ["eu-fra-1", "eu-lon-1"]\n'
    region = local(written(tmp_path, f'[regions.local]\n{said}flavors = ["x86/cpu", "t4/gpu"]\n'))
    assert region.flavors == (Flavor("x86", "cpu"), Flavor("t4", "gpu"))
    for part in ("continent EU, country DE, location Frankfurt am Main", "t4/gpu", "also called eu-fra-1, eu-lon-1"):
        assert part in region.describe()


def test_each_engine_is_a_region_of_its_own_beside_this_machine(tmp_path: Path) -> None:
    tls = 'engine_ca = "/ca.pem"\nengine_cert = "/cert.pem"\nengine_key = "/key.pem"\n'
    content = (
        '[regions.here]\ndriver = "docker"\nengine = "unix:///run/docker.sock"\n'
        f'[regions.far]\ndriver = "docker"\nengine = "tcp://10.0.0.1:2376"\n{tls}country = "US"\n'
        'programs_at = "10.0.0.1"\n'
        '[regions.away]\ndriver = "docker"\nengine = "ssh://me@away:2222"\nprograms_at = "fd00::7"\n'
        'gateway_url = "https://homeport.example.org/"\n'
    )
    configuration = read_configuration(written(tmp_path, content))
    assert [table.remote for table in configuration.regions.values()] == [False, True, True]
    assert configuration.regions["away"].gateway_url == "https://homeport.example.org"
    regions = regions_of(configuration, "process")
    found = [(region.name, region.driver, region.runs_images, region.country) for region in regions]
    assert found == [
        ("local", "process", False, None),
        ("here", "docker.here", True, None),
        ("far", "docker.far", True, "US"),
        ("away", "docker.away", True, None),
    ]


def test_limits_and_sources_are_read(tmp_path: Path) -> None:
    content = "[limits]\nbody_mb = 1\nbuild_timeout_s = 60\n[sources]\nallow_file_repositories = true\n"
    configuration = read_configuration(written(tmp_path, content))
    assert (configuration.limits.body_mb, configuration.limits.build_timeout_s) == (1, 60)
    assert configuration.limits.upload_mb == Configuration().limits.upload_mb
    assert configuration.sources.allow_file_repositories and not configuration.sources.submodules


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[regions.local", "no readable TOML"),
        ("[regions.mars]", 'write aliases = ["mars"] there'),
        ('[regions.local]\ndriver = "docker"\nengine = "unix:///x"', "give an engine a region of its own"),
        ('[regions.far]\ndriver = "docker"', 'must name an engine for the driver "docker"'),
        ('[regions.far]\nengine = "unix:///x"', 'must have driver = "docker" for an engine'),
        ('[regions.far]\ndriver = "podman"', "driver must be"),
        ('[regions.far]\ndriver = "docker"\nengine = "tcp://host"', "engine must be"),
        (
            '[regions.far]\ndriver = "docker"\nengine = "tcp://host:2376"',
            "must have engine_ca, engine_cert and engine_key",
        ),
        ('[regions.far]\ndriver = "docker"\nengine = "ssh://u:secret@host"', "engine must be"),
        ('[regions.far]\ndriver = "docker"\nengine = "ssh://host"', "[regions.far] must have programs_at"),
        (
            '[regions.far]\ndriver = "docker"\nengine = "ssh://host"\nprograms_at = "0.0.0.0"',
            "[regions.far] programs_at must be one IP address",
        ),
        (
            '[regions.far]\ndriver = "docker"\nengine = "ssh://host"\nprograms_at = "host"',
            "[regions.far] programs_at must be one IP address of the engine's machine",
        ),
        (
            '[regions.far]\ndriver = "docker"\nengine = "ssh://host"\nprograms_at = "::1"\ngateway_url = "10.0.0.1"',
            '[regions.far] gateway_url must be "http://host:port" or "https://host"',
        ),
        (
            '[regions.here]\ndriver = "docker"\nengine = "unix:///x"\nprograms_at = "10.0.0.7"',
            "[regions.here] must have programs_at and gateway_url only where the engine is on another machine",
        ),
        ('[regions.local]\ngateway_url = "http://10.0.0.1:8080"', '[regions.local] must have driver = "docker"'),
        ('[regions."Far Away"]\ndriver = "docker"\nengine = "unix:///x"', "lower-case letters, digits and hyphens"),
        (
            '[regions.far]\ndriver = "docker"\nengine = "unix:///x"\n[regions.local]\naliases = ["far"]',
            "must give each name once, aliases included (got 'far' twice)",
        ),
        ("regions = 1", "[regions] must be a table (got 1)"),
        ("[regions]\nlocal = 1", "[regions.local] must be a table (got 1)"),
        ("limits = true", "[limits] must be a table (got True)"),
        (
            "[other]\nx = 1",
            "the file has no key 'other'; there are builds, gateway, images, invocations, limits, regions, sources",
        ),
        ("[regions.local]\nplanet = 1", "[regions.local] has no key 'planet'; there are aliases, continent, country"),
        ("[limits]\nbody = 1", "[limits] has no key 'body'; there are body_mb, build_timeout_s"),
        ('[regions.local]\ncountry = "Germany"', "[regions.local] country must be two letters (ISO 3166-1)"),
        ('[regions.local]\ncountry = "ÄÖ"', "two letters"),
        ("[regions.local]\ncountry = 49", "[regions.local] country must be a string (got 49)"),
        ('[regions.local]\ncontinent = "Europe"', "must be one of AF, AN, AS, EU, NA, OC, SA (got 'Europe')"),
        ('[regions.local]\ncountry = "\\uD800"', "no readable TOML"),
        ('[regions.local]\nlocation = ""', "location must be 1 to 64 characters"),
        ('[regions.local]\naliases = "us-pdx-1"', "[regions.local] aliases must be a list"),
        ('[regions.local]\naliases = ["US PDX"]', "lower-case letters, digits and hyphens (got 'US PDX')"),
        ('[regions.local]\naliases = ["auto"]', "'auto', which has a meaning of its own"),
        ('[regions.local]\naliases = ["local"]', "'local', which has a meaning of its own"),
        ('[regions.local]\naliases = ["a", "a"]', "must hold each value once"),
        ("[regions.local]\naliases = [1]", "[regions.local] aliases[0] must be a string (got 1)"),
        ("[regions.local]\nflavors = []", "flavors must have at least 1"),
        ('[regions.local]\nflavors = ["x86"]', 'flavors must hold flavors such as "x86/cpu"'),
        ("[limits]\nbody_mb = 0", "[limits] body_mb must be at least 1 (got 0)"),
        ("[limits]\nbody_mb = 5000", "[limits] body_mb must be at most 1024 (got 5000)"),
        ('[limits]\nbody_mb = "16"', "[limits] body_mb must be a whole number (got '16')"),
        ("[limits]\nbody_mb = 1.5", "[limits] body_mb must be a whole number"),
        ("[limits]\nbody_mb = true", "[limits] body_mb must be a whole number"),
        ("[sources]\nsubmodules = 1", "[sources] submodules must be true or false (got 1)"),
        ("[sources]\nrepository_timeout_s = 0", "[sources] repository_timeout_s must be at least 5"),
    ],
)
def test_a_mistake_is_named_with_file_key_rule_and_next_step(tmp_path: Path, content: str, named: str) -> None:
    config = written(tmp_path, content)
    with pytest.raises(Unavailable) as caught:
        read_configuration(config)
    said = caught.value.for_caller()
    assert str(config) in said and said.endswith("Mend that and start again.")
    assert named in said


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read_configuration(written(tmp_path, "[limits]\nbody_mb = 0\nupload_mb = 0\n[colours]\n"))
    for part in ("body_mb", "upload_mb", "'colours'"):
        assert part in caught.value.message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_bytes(b"\xff\xfe")
    with pytest.raises(Unavailable, match=r"config\.toml"):
        read_configuration(config)
    config.unlink()
    config.mkdir()
    with pytest.raises(Unavailable, match=r"config\.toml"):
        read_configuration(config)


def sections() -> dict[str, type[Table]]:
    """Each table of the file by its heading in the document."""
    found: dict[str, type[Table]] = {}
    for name, field in Configuration.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Table):
            found[name] = kind
        else:
            (found[f"{name}.NAME"],) = (one for one in Table.__subclasses__() if one.__name__ == "RegionTable")
    return found


def rows(heading: str) -> dict[str, list[str]]:
    """The document's table below `## [heading]`: key → the other cells."""
    (part,) = re.findall(rf"^## `\[{re.escape(heading)}\]`\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:3] == "| `"]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_document_has_every_table_and_no_other() -> None:
    assert set(re.findall(r"^## `\[(.*)\]`$", DOCUMENT.read_text(), re.M)) == set(sections())


@pytest.mark.parametrize("heading", sections())
def test_the_document_names_every_key_with_its_default_and_bounds(heading: str) -> None:
    table, documented = sections()[heading], rows(heading)
    assert set(documented) == set(table.model_fields)
    for key, field in table.model_fields.items():
        if isinstance(field.default, bool | int):
            shown = str(field.default).lower()
            assert documented[key][0] == shown, f"{heading}.{key}"
        low, high = (next((getattr(m, a) for m in field.metadata if hasattr(m, a)), None) for a in ("ge", "le"))
        if low is not None:
            assert documented[key][1] == f"{low} to {high}", f"{heading}.{key}"


def test_the_documents_example_is_accepted(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
    configuration = read_configuration(written(tmp_path, example))
    assert configuration.local.aliases
