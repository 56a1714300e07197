"""What is found out about the machine, and what mends it."""

from pathlib import Path

import pytest

from homeport.node import host

SETTINGS = ("_MAX_NAMESPACES", "_CLONE", "_APPARMOR")


def settings(monkeypatch: pytest.MonkeyPatch, folder: Path, **values: str) -> None:
    """Let the kernel's settings be these; absent ones do not exist."""
    for name in SETTINGS:
        monkeypatch.setattr(host, name, folder / name)
        if name in values:
            (folder / name).write_text(values[name] + "\n")


@pytest.mark.parametrize(
    ("name", "value", "cause"),
    [
        ("_MAX_NAMESPACES", "0", "max_user_namespaces"),
        ("_CLONE", "0", "unprivileged_userns_clone"),
        ("_APPARMOR", "1", "apparmor_restrict_unprivileged_userns"),
    ],
)
def test_each_obstacle_is_named_and_mended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, cause: str
) -> None:
    settings(monkeypatch, tmp_path, **{name: value})
    assert cause in (host.userns_obstacle() or "")
    setup = host.host_setup(Path("/opt/bwrap"))
    assert len(setup.files) == len(setup.commands) == 1
    (path, text), (command,) = *setup.files.items(), setup.commands
    assert str(path) == command[-1]
    assert "/opt/bwrap" in text if name == "_APPARMOR" else cause in text


def test_a_machine_without_obstacles_needs_no_setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings(monkeypatch, tmp_path, _MAX_NAMESPACES="1000", _CLONE="1", _APPARMOR="0")
    assert host.userns_obstacle() is None
    assert host.host_setup() == host.HostSetup(files={}, commands=())


@pytest.mark.sandbox
def test_checks_say_of_each_thing_what_was_found_and_why_it_matters(tmp_path: Path) -> None:
    found = {check.name: check for check in host.checks(tmp_path)}
    assert {"platform", "python", "bubblewrap", "sandbox", "cgroups"} <= set(found)
    assert all(check.why and check.found and bool(check.mend) != check.ok for check in found.values())
    if host.userns_obstacle() is None:
        assert found["sandbox"].ok
    assert list(tmp_path.iterdir()) == []
