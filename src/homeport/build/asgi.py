"""Finds, by reading and never by importing, the ASGI application that a Python file defines at its top level.

Called by `detect`. It knows the constructors of well-known frameworks, functions of the same file whose annotation
says that they return one, and plain `async def app(scope, receive, send)`. What it cannot see (an application that
another module builds) is served by an `[entrypoint]`.
"""

import ast
from collections.abc import Iterator

_FRAMEWORKS = frozenset(
    {
        "fastapi.FastAPI",
        "fastapi.applications.FastAPI",
        "starlette.applications.Starlette",
        "litestar.Litestar",
        "quart.Quart",
        "blacksheep.Application",
        "falcon.asgi.App",
        "socketio.ASGIApp",
        "django.core.asgi.get_asgi_application",
    }
)
_METHODS = frozenset({"http_app", "streamable_http_app", "sse_app"})  # an MCP server's own application
_SERVERS = ("uvicorn.", "hypercorn.", "granian.", "daphne.")
_STARTERS = frozenset({"run", "serve", "serve_forever", "main", "start", "run_app", "launch"})


def asgi_application(source: str) -> str | None:
    """The name of the application in a file with this content, or None if it has none or runs a server itself.

    `app` is preferred; otherwise it is the first one in the file. A file that is not valid Python has none: the
    program's own start will say so.
    """
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names = _imported_names(module)
    if _runs_server(module, names):
        return None
    found = [*_applications(module, names)]
    return "app" if "app" in found else next(iter(found), None)


def uses_package_imports(source: str, package: str) -> bool:
    """Whether the file imports relatively or through its own directory's name, so that it must be loaded as a member
    of `package`. False for a file that is not valid Python."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and (node.level > 0 or _top(node.module or "") == package):
            return True
        if isinstance(node, ast.Import) and any(_top(alias.name) == package for alias in node.names):
            return True
    return False


def _top(name: str) -> str:
    return name.partition(".")[0]


def _imported_names(module: ast.Module) -> dict[str, str]:
    """What each imported name stands for: `{"F": "fastapi.FastAPI"}` for `from fastapi import FastAPI as F`."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or _top(alias.name)] = alias.name if alias.asname else _top(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of what `node` refers to, or an empty string where it is not a plain reference."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value, names)):
        return f"{base}.{node.attr}"
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # an annotation in quotes
        return names.get(node.value, node.value)
    return ""


def _runs_server(module: ast.Module, names: dict[str, str]) -> bool:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and _dotted(node.func, names).startswith(_SERVERS):
            return True
        if isinstance(node, ast.If) and _is_main_guard(node.test) and _starts_something(node):
            return True
    return False


def _is_main_guard(test: ast.expr) -> bool:
    if not isinstance(test, ast.Compare) or len(test.comparators) != 1:
        return False
    sides = (test.left, test.comparators[0])
    named = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
    return named and any(isinstance(side, ast.Constant) and side.value == "__main__" for side in sides)


def _starts_something(guard: ast.If) -> bool:
    for node in ast.walk(guard):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in _STARTERS:
            return True
    return False


def _applications(module: ast.Module, names: dict[str, str]) -> Iterator[str]:
    """The names at the top level that hold an application, in the order of the file."""
    factories = {
        node.name
        for node in module.body
        if isinstance(node, ast.FunctionDef) and node.returns and _dotted(node.returns, names) in _FRAMEWORKS
    }
    for node in module.body:
        if isinstance(node, ast.AsyncFunctionDef) and [arg.arg for arg in node.args.args] == [
            "scope",
            "receive",
            "send",
        ]:
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign) and _makes_application(node, names, factories):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def _makes_application(node: ast.Assign | ast.AnnAssign, names: dict[str, str], factories: set[str]) -> bool:
    if isinstance(node, ast.AnnAssign) and node.value and _dotted(node.annotation, names) in _FRAMEWORKS:
        return True
    if not isinstance(node.value, ast.Call):
        return False
    called = _dotted(node.value.func, names)
    is_method = isinstance(node.value.func, ast.Attribute) and node.value.func.attr in _METHODS
    return called in _FRAMEWORKS or called in factories or is_method
