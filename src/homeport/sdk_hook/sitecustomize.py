"""Points the public Python SDK at the addresses in BL_API_URL and BL_RUN_URL, which it does not read by itself.

Python runs this file at its start when its directory is on PYTHONPATH: `homeport env` puts it there, and so does the
server in sandboxes. Standard library only and self-contained, since it is mounted alone; and few imports, since every
interpreter pays for them. It waits for the import of one module of the SDK and does nothing in programs that never
import it, or when neither variable is set. Another `sitecustomize` further down the path still runs.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # as in `typing`, which would cost every interpreter some milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_MODULE = "blaxel.core.common.settings"
_VARIABLES = {"base_url": "BL_API_URL", "run_url": "BL_RUN_URL"}


class _Finder:
    """Finds the one module by the ordinary finders and wraps its loader."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """Runs the module as its own loader would, then redirects the settings in it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        try:
            _redirect(module.settings)
        except Exception as exc:
            # Not silent: unredirected, the SDK would send this installation's key to the public service.
            print(f"homeport: cannot redirect this version of the SDK: {exc!r}", file=sys.stderr)


def _redirect(settings: Any) -> None:
    kind = type(settings)
    for attribute, variable in _VARIABLES.items():
        setattr(kind, attribute, _property(getattr(kind, attribute), variable))
    # Built before this line with the public address; token requests go there.
    settings.auth.base_url = settings.base_url


def _property(original: Any, variable: str) -> property:
    return property(lambda self: os.environ.get(variable, "").rstrip("/") or original.fget(self))


def _run_next() -> None:
    """Run the `sitecustomize` that this one hides, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is None or spec.loader is None:
        return
    from importlib.util import module_from_spec

    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if any(os.environ.get(variable) for variable in _VARIABLES.values()):
    sys.meta_path.insert(0, _Finder())
_run_next()
