"""What builds use of the machine: the interpreter, the way to the registry, and uv. Made once."""

from dataclasses import dataclass
from pathlib import Path

import uv

from homeport.build.interpreter import Interpreter, interpreter
from homeport.build.registry import Registry, registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """uv: the executable on the host."""

    python: Interpreter
    registry: Registry
    uv: Path


def toolchain() -> Toolchain:
    """The toolchain of this process: its interpreter, its configuration of pip and uv, the uv that came with it."""
    return Toolchain(python=interpreter(), registry=registry(), uv=Path(uv.find_uv_bin()).resolve())
