"""How a build fails. Raised by the builder, shown by whoever asked for the build."""

from homeport.core.errors import Rejected

SHOWN_LINES = 8  # of the log's end, for people who read an event; the log has the rest
_LINE_CHARACTERS = 240


class BuildFailed(Rejected):
    """The source could not be built."""

    reason = "BuildFailed"

    def __init__(
        self, step: str, why: str, *, command: str = "", exit_code: int | None = None, last_lines: tuple[str, ...] = ()
    ) -> None:
        """`step` is what was being done ("Installing dependencies"), `why` completes the sentence after it.

        command: the command that failed, as people would type it. exit_code: None where a signal or a limit ended
        it. last_lines: the end of the build's log.
        """
        self.step = step
        self.command = command
        self.exit_code = exit_code
        self.last_lines = last_lines
        super().__init__(f"{step} {why}", detail="\n".join(last_lines))

    def because(self, why: str) -> "BuildFailed":
        """The same failure with other words for it."""
        return BuildFailed(self.step, why, command=self.command, exit_code=self.exit_code, last_lines=self.last_lines)

    def for_caller(self) -> str:
        """What failed and why, the command, and the last lines of the log."""
        parts = [super().for_caller()]
        if self.command:
            parts.append(f"Command: {_cut(self.command)}")
        if said := [line for line in self.last_lines if line.strip()][-SHOWN_LINES:]:
            parts += ["Last lines:", *(f"  {_cut(line)}" for line in said)]
        return "\n".join(parts)


def _cut(line: str) -> str:
    return line if len(line) <= _LINE_CHARACTERS else line[: _LINE_CHARACTERS - 1] + "…"
