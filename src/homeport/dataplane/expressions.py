"""CEL as Envoy takes it where it knows no text form: the syntax tree, as JSON (pure). For `bootstrap` and `tracing`."""

from typing import Any

Tree = dict[str, Any]


def selected(name: str, member: str) -> Tree:
    """`name.member`."""
    return {"select_expr": {"operand": {"ident_expr": {"name": name}}, "field": member}}


def called(function: str, *arguments: Tree) -> Tree:
    """A function or an operator, such as `_+_`."""
    return {"call_expr": {"function": function, "args": list(arguments)}}


def method(target: Tree, function: str, *arguments: Tree) -> Tree:
    """`target.function(arguments)`."""
    return {"call_expr": {"target": target, "function": function, "args": list(arguments)}}


def text(value: str) -> Tree:
    return {"const_expr": {"string_value": value}}


def truth(value: bool) -> Tree:
    return {"const_expr": {"bool_value": value}}
