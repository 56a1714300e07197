"""What went wrong, as sentences on standard error and an exit code. The only place that knows the codes.

Called by the entry point. A traceback is shown only to who asks for it: for everybody else it hides the sentence that
would help.
"""

import os
import sys

from homeport.cli.output import note
from homeport.core.errors import Denied, HomeportError, Invalid, Unauthenticated

DONE, FAILED, USAGE, REFUSED, NO_ANSWER, INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_CODES = (
    f"Exit codes: {DONE} done · {FAILED} failed · {USAGE} wrong usage · {REFUSED} refused by a policy or for want of a "
    f"right · {NO_ANSWER} no answer · {INTERRUPTED} ended by Ctrl-C"
)
_KEY_HINT = "Correct BL_API_KEY where it is set; `homeport login URL` stores another key."
DEBUG = "HOMEPORT_DEBUG"  # set by `homeport --debug`, or by hand


def exit_code(error: HomeportError) -> int:
    """The code that tells a script what kind of failure it was."""
    if isinstance(error, Invalid):
        return USAGE
    if isinstance(error, Denied):
        return REFUSED
    return NO_ANSWER if error.reason == "Unreachable" else FAILED


def say(error: HomeportError) -> int:
    """Tell the person what is wrong and what to do next; returns the exit code."""
    note(f"Error: {error.message}")
    if hint := error.hint or (_KEY_HINT if isinstance(error, Unauthenticated) else ""):
        note(hint)
    return exit_code(error)


def say_unforeseen(error: Exception) -> int:
    """The sentence for what nobody foresaw; with the debugging switch, the traceback instead."""
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error, file=sys.stderr)
        return FAILED
    words = " ".join(str(error).split())[:500]
    note(f"Error: {type(error).__name__}: {words or 'no more is known'}.")
    note("This is a fault of Homeport's. `homeport --debug COMMAND …` shows where; please report it with that.")
    return FAILED
