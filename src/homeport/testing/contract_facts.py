"""What an OpenAPI document says of each operation, as plain facts: where → what. Used by `contract_check` to compare
two documents however each cuts its shapes into components: references and `allOf` are followed.

Descriptions, examples, names of shapes and order are no facts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Facts = dict[str, str]
METHODS = ("get", "put", "post", "delete", "patch")
_BOUNDS = ("default", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "format")
READ_ONLY = " read-only"
NO_BODY = "no body"
_REQUEST = "request"
_SELDOM = " (again)"  # a shape inside of itself ends here


def operations(document: Mapping[str, Any]) -> dict[str, Facts]:
    """The facts of each operation, by `METHOD /path` with nameless parameters, so that their names are facts."""
    found = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                shared = [_followed(document, one) for one in item.get("parameters", ())]
                found[f"{method.upper()} {path}"] = dict(_operation(document, item[method], shared))
    return found


def _operation(
    document: Mapping[str, Any], operation: Mapping[str, Any], shared: list[Any]
) -> Iterator[tuple[str, str]]:
    yield "operationId", operation.get("operationId", "none")
    yield "security", _security(operation.get("security", document.get("security", [])))
    own = [_followed(document, one) for one in operation.get("parameters", ())]
    for parameter in {(one["in"], one["name"]): one for one in [*shared, *own]}.values():
        at = f"{parameter['in']} {parameter['name']}"
        yield from _Walk(document, reads=False).field(at, parameter.get("schema", {}), parameter.get("required", False))
    if body := operation.get("requestBody"):
        body = _followed(document, body)
        yield from _content(document, _REQUEST, body, reads=True)
        yield f"{_REQUEST} required", _yes(body.get("required", False))
    for code, response in operation["responses"].items():
        yield from _content(document, str(code), _followed(document, response), reads=False)


def _content(
    document: Mapping[str, Any], at: str, body: Mapping[str, Any], *, reads: bool
) -> Iterator[tuple[str, str]]:
    schema = body.get("content", {}).get("application/json", {}).get("schema")
    if schema is None:
        yield at, NO_BODY
    else:
        yield from _Walk(document, reads=reads).schema(at, schema, ())


class _Walk:
    """One way through a schema. `reads`: of a request, where read-only fields and required ones bind the caller."""

    def __init__(self, document: Mapping[str, Any], *, reads: bool) -> None:
        self._document = document
        self._reads = reads

    def field(self, at: str, schema: Any, required: bool, above: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
        yield from self.schema(at, schema, above)
        yield f"{at} required", _yes(required)

    def schema(self, at: str, schema: Any, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        names = (*above, *_names(schema))
        if len(set(names)) < len(names):
            yield at, f"object{_SELDOM}"
            return
        flat = _flat(self._document, schema)
        yield at, _type(self._document, flat)
        if flat["nullable"]:
            yield f"{at} null", "yes"
        if values := flat.get("enum"):
            yield f"{at} enum", ", ".join(sorted(map(str, values)))
        for bound in _BOUNDS:
            if flat.get(bound) is not None:
                yield f"{at} {bound}", str(flat[bound]).lower()
        if self._reads and flat.get("readOnly"):
            yield f"{at}{READ_ONLY}", "yes"  # and so is what is inside of it
        else:
            yield from self._inside(at, flat, names)

    def _inside(self, at: str, flat: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for name, field in flat["properties"].items():
            yield from self.field(f"{at}.{name}", field, name in flat["required"], names)
        if flat.get("items"):
            yield from self.schema(f"{at}[]", flat["items"], names)
        others = flat.get("additionalProperties")
        if isinstance(others, Mapping) and others:
            yield from self.schema(f"{at}.*", others, names)


def _flat(document: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    """`schema` with references followed, `allOf` united and null set apart."""
    schema = _followed(document, schema)
    flat: dict[str, Any] = {"nullable": schema.get("nullable", False), "properties": {}, "required": set()}
    for part in schema.get("allOf", ()):
        inner = _flat(document, part)
        flat["properties"] |= inner.pop("properties")
        flat["required"] |= inner.pop("required")
        flat |= {key: value for key, value in inner.items() if key != "nullable"}
    others = [one for one in schema.get("anyOf", schema.get("oneOf", ())) if one != {"type": "null"}]
    flat["nullable"] |= len(others) < len(schema.get("anyOf", others))
    if len(others) == 1:
        inner = _flat(document, others[0])
        flat["properties"] |= inner.pop("properties")
        flat["required"] |= inner.pop("required")
        flat |= inner | {"nullable": flat["nullable"] or inner["nullable"]}
    elif others:
        flat["alternatives"] = others
    own = {key: value for key, value in schema.items() if key not in ("allOf", "anyOf", "oneOf", "$ref", "nullable")}
    flat["properties"] |= own.pop("properties", {})
    flat["required"] |= set(own.pop("required", ()))
    flat |= own
    if "const" in flat:
        flat["enum"] = [flat.pop("const")]
    return flat


def _type(document: Mapping[str, Any], flat: Mapping[str, Any]) -> str:
    if alternatives := flat.get("alternatives"):
        return " or ".join(sorted({_type(document, _flat(document, one)) for one in alternatives}))
    if flat["properties"] or flat.get("additionalProperties"):
        return "object"
    if flat.get("enum"):
        return str(flat.get("type", "string"))
    return str(flat.get("type", "anything"))


def _names(schema: Any) -> tuple[str, ...]:
    return (schema["$ref"],) if isinstance(schema, Mapping) and "$ref" in schema else ()


def _followed(document: Mapping[str, Any], value: Any) -> Any:
    """What a reference in `document` points to, with what stands beside it."""
    while isinstance(value, Mapping) and "$ref" in value:
        found: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        value = {**found, **{key: item for key, item in value.items() if key != "$ref"}}
    return value


def _security(ways: list[Mapping[str, list[str]]]) -> str:
    scopes = [scope for way in ways for scope in way.get("OAuth2", ())]
    return ", ".join(sorted(scopes)) or ("any key" if ways else "none")


def _yes(value: object) -> str:
    return "yes" if value else "no"
