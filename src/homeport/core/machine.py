"""What tells one machine from another, as far as an engine tells of its own, too: host name, kernel, memory."""

import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")


def machine(host: str, kernel: str, memory_bytes: int) -> str:
    """A text that two machines do not share: their kernels find not quite the same memory, if their names are alike."""
    return f"{host}, Linux {kernel}, {memory_bytes} bytes of memory"


def this_machine() -> str:
    """In a container with a host name of its own this is another than the machine around it."""
    names = os.uname()
    total = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemTotal:"))
    return machine(names.nodename, names.release, int(total.split()[1]) * 1024)
