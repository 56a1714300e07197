"""How a build fails. Raised by the builder, shown by whoever asked for the build."""

from homeport.core.errors import Rejected


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
