"""The operator's [telemetry]: what is refused, and who is told what."""

from pathlib import Path

import pytest

from homeport.configuration import read_configuration
from homeport.core.errors import Unavailable
from homeport.core.ids import Kind, RevisionId
from homeport.dataplane.bootstrap import EnvoySockets, bootstrap
from homeport.dataplane.doors import door_listener
from homeport.dataplane.routes import Door
from homeport.telemetry import collector_of, program_telemetry_of

ENDPOINT = 'otlp_endpoint = "http://127.0.0.1:4317"\n'
PLACE = Path("/run")


def config(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("[telemetry]\n" + "".join(lines))
    return path


def headers_file(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    path = tmp_path / "headers"
    path.write_text(text)
    path.chmod(mode)
    return f'otlp_headers_file = "{path}"\n'


def test_without_an_endpoint_nothing_of_traces_is_in_the_gateway(tmp_path: Path) -> None:
    configuration = read_configuration(config(tmp_path))
    assert collector_of(configuration) is None and program_telemetry_of(configuration) is None
    sockets = EnvoySockets(**{name: PLACE / name for name in EnvoySockets.__slots__})
    assert "opentelemetry" not in str(bootstrap(sockets=sockets, host="127.0.0.1", port=1))


def test_the_gateway_traces_at_each_of_its_doors(tmp_path: Path) -> None:
    collector = collector_of(read_configuration(config(tmp_path, ENDPOINT)))
    door = Door(address="127.0.0.2", subnet="127.0.0.0/8", port=1)
    assert b"opentelemetry" in door_listener(door, "localhost", collector).message.SerializeToString()
    assert b"opentelemetry" not in door_listener(door, "localhost").message.SerializeToString()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('otlp_endpoint = "127.0.0.1:4317"\n', "must be"),
        ('otlp_endpoint = "http://user:pass@host:1"\n', "must be"),
        ("sampled_percent = 5\n", "must have otlp_endpoint"),
        (ENDPOINT + "sampled_percent = 101\n", "sampled_percent"),
        ('otlp_endpoint = "http://host:1/otlp"\n', "without a path"),
        (ENDPOINT + 'otlp_ca = "/ca.pem"\n', "https"),
        (ENDPOINT + "enable_sdk = true\n", "enable_sdk"),
        (ENDPOINT + 'otlp_headers = "a: b"\n', "no key 'otlp_headers'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, lines: str, told: str) -> None:
    with pytest.raises(Unavailable) as refused:
        read_configuration(config(tmp_path, lines))
    assert told in refused.value.message


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ("authorization: Bearer x\n", 0o640, "others may read it"),
        ("authorization Bearer x\n", 0o600, "line 1 is not"),
        ("a: b\nb: 100%\n", 0o600, "line 2 holds a %"),
        ("# nothing\n", 0o600, "1 to 20 headers"),
    ],
)
def test_a_file_of_headers_that_cannot_be_used_is_refused_without_its_content(
    tmp_path: Path, text: str, mode: int, told: str
) -> None:
    configuration = read_configuration(config(tmp_path, ENDPOINT, headers_file(tmp_path, text, mode)))
    with pytest.raises(Unavailable) as refused:
        collector_of(configuration)
    assert told in refused.value.message and "Bearer" not in refused.value.message


def test_headers_go_to_the_collector_and_to_no_program(tmp_path: Path) -> None:
    sent = headers_file(tmp_path, "# ours\nAuthorization: Bearer x\n\nX-Team: a b\n")
    configuration = read_configuration(config(tmp_path, ENDPOINT, sent))
    collector = collector_of(configuration)
    assert collector is not None
    assert dict(collector.headers) == {"Authorization": "Bearer x", "X-Team": "a b"}
    assert "Bearer" not in repr(collector)
    programs = program_telemetry_of(configuration)
    assert programs is not None and "Bearer" not in str(variables_of(programs))


def variables_of(programs: object, *, contained: bool = False) -> dict[str, str]:
    from homeport.workloads.telemetry import ProgramTelemetry

    assert isinstance(programs, ProgramTelemetry)
    return programs.variables("acme", Kind.AGENT, "a1", RevisionId("rev-1"), contained=contained)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_container_is_not_sent_to_its_own_loopback(tmp_path: Path, host: str) -> None:
    near = program_telemetry_of(read_configuration(config(tmp_path, f'otlp_endpoint = "http://{host}:4317"\n')))
    far = program_telemetry_of(read_configuration(config(tmp_path, 'otlp_endpoint = "http://10.0.0.1:4317"\n')))
    assert variables_of(near, contained=True) == {}
    assert variables_of(near)["OTEL_SERVICE_NAME"] == variables_of(far, contained=True)["OTEL_SERVICE_NAME"] == "a1"


def test_programs_are_told_nothing_where_the_operator_says_so(tmp_path: Path) -> None:
    assert program_telemetry_of(read_configuration(config(tmp_path, ENDPOINT, "programs = false\n"))) is None


def test_the_public_sdk_exports_only_where_the_operator_says_so(tmp_path: Path) -> None:
    over_http = ENDPOINT + 'otlp_protocol = "http"\n'
    silent = program_telemetry_of(read_configuration(config(tmp_path, over_http)))
    asked = program_telemetry_of(read_configuration(config(tmp_path, over_http, "enable_sdk = true\n")))
    assert "BL_ENABLE_OPENTELEMETRY" not in variables_of(silent)
    assert variables_of(asked)["BL_ENABLE_OPENTELEMETRY"] == "true"
    assert variables_of(asked)["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
