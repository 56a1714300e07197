"""`homeport service`: Homeport started by systemd, at boot and again when it ends by itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli.options import Data, Format, Output
from homeport.cli.output import emit, note, tell
from homeport.core.limits import DRAIN_S_MAX

if TYPE_CHECKING:
    from homeport.settings import DataDir

app = typer.Typer(no_args_is_help=True, help="Have systemd start Homeport, at boot too.")

_Name = Annotated[str, typer.Option("--name", help="The unit's name; one for each data directory.")]


@app.command("install")
def install(
    data: Data = None,
    name: _Name = "homeport",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="As for `homeport up`.")] = None,
    host: Annotated[str, typer.Option(help="As for `homeport up`.")] = "127.0.0.1",
    country: Annotated[str | None, typer.Option(help="As for `homeport up`.")] = None,
    continent: Annotated[str | None, typer.Option(help="As for `homeport up`.")] = None,
    drain: Annotated[float, typer.Option(min=0, max=DRAIN_S_MAX, help="As for `homeport up`.")] = 30,
    no_start: Annotated[bool, typer.Option("--no-start", help="Have it start at the next boot only.")] = False,
    show: Annotated[
        bool, typer.Option("--print", "--dry-run", help="Only show the unit; needs no systemd here.")
    ] = False,
    output: Format = Output.TEXT,
) -> None:
    """Have systemd start Homeport, now and at boot.

    Writes a unit that runs `homeport up`. As root it is one of the machine; else one of your own, which runs at boot if
    you linger. To repeat it changes nothing; with other options it changes the unit. An upgrade of Homeport counts from
    the next start of the unit.

    \b
    Examples:
      homeport service install --print
      sudo homeport service install --data /srv/homeport --port 8080
    """
    from homeport.supervise import service as systemd

    words = ["--host", host, "--drain", f"{drain:g}"]
    for option, value in (("--port", port), ("--country", country), ("--continent", continent)):
        words += [option, str(value)] if value is not None else []
    wanted = systemd.named(name, _directory(data), words, drain)
    if show:
        _show(systemd.unit_text(wanted), str(wanted.path), output)
        return
    done = systemd.install(wanted, start=not no_start)
    tell("\n".join(done), {**systemd.status(wanted), "done": done}, output)
    for remark in systemd.remarks(wanted):
        note(remark)


def _directory(data: Path | None) -> "DataDir":
    from homeport.settings import DataDir, default_data

    return DataDir((data or default_data()).absolute())


def _show(text: str, path: str, output: Output) -> None:
    if output is not Output.TEXT:
        emit({"path": path, "unit": text}, output)
        return
    note(f"# {path}")
    print(text, end="")


@app.command("uninstall")
def uninstall(data: Data = None, name: _Name = "homeport", output: Format = Output.TEXT) -> None:
    """Stop the service in order and remove its unit.

    The data directory stays.

    \b
    Example:
      sudo homeport service uninstall
    """
    from homeport.supervise import service as systemd

    wanted = systemd.named(name, _directory(data))
    done = systemd.uninstall(wanted)
    tell("\n".join(done), {"unit": wanted.unit, "done": done}, output)


@app.command("status")
def status(data: Data = None, name: _Name = "homeport", output: Format = Output.TEXT) -> None:
    """Show whether the service runs and starts at boot.

    Exit code 1 when it is not installed or does not run.

    \b
    Example:
      homeport service status
    """
    from homeport.supervise import service as systemd

    wanted = systemd.named(name, _directory(data))
    seen = systemd.status(wanted)
    if output is not Output.TEXT:
        emit(seen, output)
    else:
        _tell_status(seen)
        for remark in systemd.remarks(wanted) if seen["installed"] else ():
            note(remark)
    if seen["active"] != "active":
        raise typer.Exit(1)


def _tell_status(seen: dict[str, Any]) -> None:
    if not seen["installed"]:
        print(f"{seen['unit']} is not installed ({seen['path']})")
        return
    since = f" since {seen['since']}" if seen["since"] else ""
    process = f", process {seen['pid']}" if seen["pid"] else ""
    print(f"{seen['unit']}: {seen['active']} ({seen['state']}){since}{process}")
    print(f"at boot: {'yes' if seen['atBoot'] else 'no'}")
    print(f"data: {seen['data']}")
    if seen["restarts"]:
        print(f"started again by systemd: {seen['restarts']} times")
    if seen["active"] != "active" and seen["result"] not in (None, "success"):
        print(f"last end: {seen['result']}")
