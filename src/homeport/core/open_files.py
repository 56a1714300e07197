"""How many files and connections a process may have open. Each process of ours raises its limit to what the machine
lets it; where that is little, `doctor` and `status` say so.
"""

import resource
import sys

LOW = 16_384  # below this connections run out before anything else does
_OWN = 200  # what a process of ours needs besides connections
_LEAST = 16
_PER_CONNECTION = 2  # the gateway's: one to the client, one to the program


def raise_open_files() -> None:
    """Raise this process's limit, which its children inherit, to the machine's."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def hard_limit() -> int:
    """What the machine lets this process open at most."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def is_low(limit: int) -> bool:
    return limit < LOW


def connections(limit: int, files: int = _PER_CONNECTION) -> int:
    """How many connections a process can serve at once with `limit`, by default the gateway. files: that each takes."""
    return max(_LEAST, (limit - _OWN) // files)
