"""What this node can hold and how it contains units: for its own bounds, and for people (`homeport status`)."""

import os
import resource
from pathlib import Path
from typing import Any

from homeport.core.machine import this_machine
from homeport.node.launch import Launcher

LIVING_UNITS = 2000  # at most, where the node may hold enough file handles
UNIT_HANDLES = 8  # of the node for each living unit: three processes, two pipes and their spools, its log
OWN_HANDLES = 350  # of the node for itself: its callers' connections, a start, a reader of logs
LOGS_BYTES = 2 * 1024 * 1024 * 1024  # of all units' output: a million tasks with 1 MB each must not fill the disk


def most_units() -> int:
    """How many units may live at once, by the file handles that this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(LIVING_UNITS, (soft - OWN_HANDLES) // UNIT_HANDLES))


def logs_most(folder: Path) -> int:
    """How many bytes the output of all units may take: a tenth of the disk, and never more than 2 GB."""
    found = os.statvfs(folder)
    return min(LOGS_BYTES, found.f_blocks * found.f_frsize // 10)


def facts(launcher: Launcher, version: str) -> dict[str, Any]:
    """How this node contains units, for `homeport status`."""
    return {
        "sandbox": f"bubblewrap {version}" if launcher.bwrap else "none",
        "bwrap_version": version or None,
        "runs_as": "root" if os.geteuid() == 0 else "user",
        "unit_uid": launcher.uid if launcher.uid is not None else os.geteuid(),
        "memory_limit": launcher.groups.memory_method,
        "process_limit": launcher.pids_method,
        "disk_limit": "counted",
        "cpu_limit": launcher.groups.cpu_method,
        "freezer": launcher.groups.freezer_method,
        "units_most": most_units(),
        "logs_most_mb": logs_most(launcher.data) // (1024 * 1024),
        "cgroup_reason": launcher.groups.reason,
        "overlay": launcher.overlay,
        "private_mounts": launcher.stage.reason or "yes",
        "network": "shared loopback",
        "machine": this_machine(),
    }
