"""What `deploy` makes of a folder: `blaxel.toml`, files of variables and flags, and what it warns of."""

from pathlib import Path

import pytest

from homeport.cli.manifest import Flags, read_order, read_repository_order
from homeport.cli.variables import interpolate, read_files, read_words
from homeport.core.errors import Invalid
from homeport.core.ids import Kind


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "My Agent_1").mkdir()
    return tmp_path / "My Agent_1"


def write(folder: Path, text: str) -> Path:
    (folder / "blaxel.toml").write_text(text)
    return folder


def envs(order: object) -> dict[str, tuple[str, bool]]:
    listed = order.resource["spec"]["runtime"]["envs"]  # type: ignore[attr-defined]
    return {env["name"]: (env["value"], env.get("secret", False)) for env in listed}


def test_names_are_made_as_the_public_command_line_makes_them(folder: Path) -> None:
    assert read_order(folder, Flags()).name == "my-agent-1"
    assert read_order(write(folder, 'name = "Other One"'), Flags()).name == "other-one"
    assert read_order(folder, Flags(name="mine")).name == "mine"


def test_variables_are_resolved_and_the_later_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_ENV", "there")
    text = '[env]\nA = "$FROM_ENV"\nB = "${secrets.TOKEN}"\nC = "${UNSET:fallback}"\nD = "$UNSET"\n'
    text += 'E = "a $FROM_ENV"\nF = "3"\n'
    order = read_order(write(folder, text), Flags(secrets={"TOKEN": "t", "F": "file"}, variables={"C": "flag"}))
    assert envs(order) == {
        "A": ("there", False),
        "B": ("t", True),
        "C": ("flag", False),
        "D": ("$UNSET", False),
        "E": ("a $FROM_ENV", False),
        "F": ("file", True),
        "TOKEN": ("t", True),
    }
    assert any("env.D" in warning and "$UNSET" in warning for warning in order.warnings)


def test_a_persons_key_is_never_sent_along(folder: Path) -> None:
    order = read_order(folder, Flags(secrets={"BL_API_KEY": "mine"}))
    assert envs(order) == {} and any("BL_API_KEY" in warning for warning in order.warnings)


def test_the_runtime_table_is_sent_whole_with_durations_in_seconds(folder: Path) -> None:
    order = read_order(write(folder, 'type = "job"\n[runtime]\ntimeout = "15m"\ndiskPercent = 40\n'), Flags())
    assert order.kind is Kind.JOB
    runtime = order.resource["spec"]["runtime"]
    assert (runtime["timeout"], runtime["diskPercent"]) == (900, 40)


def test_what_has_no_effect_is_said(folder: Path) -> None:
    text = 'nmae = "x"\nprotocol = "http"\nworkspace = "theirs"\n[agent.child]\npath = "child"\n'
    order = read_order(write(folder, text), Flags())
    said = "\n".join(order.warnings)
    assert "nmae is no key" in said and "protocol has no effect" in said and "agent.child" in said
    assert order.workspace == "theirs"


def test_a_repository_is_called_like_its_address(folder: Path) -> None:
    order = read_repository_order("git@example.com:acme/My_Agent.git#main", "token", Flags())
    assert order.name == "my-agent"
    assert order.resource["spec"]["repository"] == {"url": "git@example.com:acme/My_Agent.git#main", "secret": "token"}
    assert order.resource["metadata"]["labels"] == {}


@pytest.mark.parametrize("text", ["name = ", "type = 3", 'type = "sandwich"', "[runtime]\nmemory = 'much'"])
def test_a_bad_file_is_named(folder: Path, text: str) -> None:
    with pytest.raises(Invalid, match=r"blaxel\.toml"):
        read_order(write(folder, text), Flags())


def test_files_of_variables_are_read_as_shells_read_them(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        '# a comment\n\nA=plain # comment\nexport B=\'single # $kept\'\nC="two\\nlines \\"quoted\\""\nD=\nE = spaced \n'
        "F=a#b\nA=last\n"
    )
    assert read_files([path]) == {
        "A": "last",
        "B": "single # $kept",
        "C": 'two\nlines "quoted"',
        "D": "",
        "E": "spaced",
        "F": "a#b",
    }


@pytest.mark.parametrize("line", ["no equals", "A='open", "1A=x", "=x"])
def test_a_bad_line_is_named_by_its_number_and_never_repeated(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"A=1\n{line}\n")
    with pytest.raises(Invalid, match="line 2") as caught:
        read_files([tmp_path / ".env"])
    assert line not in caught.value.for_caller()


def test_words_of_variables_never_repeat_a_value() -> None:
    assert read_words(["A=1", "B=x=y"], "--env") == {"A": "1", "B": "x=y"}
    with pytest.raises(Invalid, match="--env") as caught:
        read_words(["=hush"], "--env")
    assert "hush" not in caught.value.for_caller()


def test_references_are_replaced_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "x")
    done = interpolate("$HERE-${HERE}/${secrets.T}${NONE:-}$NONE ${NONE} $5 $(HERE)", {"T": "t"})
    assert done.text == "x-x/t-$NONE ${NONE} $5 $(HERE)"
    assert done.unset == ("NONE",)
