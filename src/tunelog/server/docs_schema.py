"""The schemas of an OpenAPI document in words, with their references followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunelog.server.docs_html import Html, code, element, joined, prose

Node = Mapping[str, Any]

_UNBOUNDED = frozenset({-(2**63), 2**63 - 1, -1.7976931348623157e308, 1.7976931348623157e308})
"""The limits of int64 and double; the format says them already."""
_DEEPEST = 8
"""Levels of nested fields that are shown; a schema that contains itself ends here."""


class References:
    """An OpenAPI document with its references followed."""

    def __init__(self, spec: Node) -> None:
        self.spec = spec

    def resolved(self, node: Node) -> Node:
        """The node that is referred to, with what stands beside the reference."""
        while "$ref" in node:
            target: Any = self.spec
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
        return node

    def whole(self, schema: Node) -> Node:
        """A schema with its references followed and its `allOf` merged; earlier fields win."""
        schema = self.resolved(schema)
        if "allOf" not in schema:
            return schema
        own = {key: value for key, value in schema.items() if key != "allOf"}
        properties: dict[str, Any] = {}
        required: list[str] = []
        for part in (own, *map(self.whole, schema["allOf"])):
            for name, field in part.get("properties", {}).items():
                properties.setdefault(name, field)
            required += part.get("required", ())
        return {"type": "object", **own, "properties": properties, "required": required}

    def example(self, media: Node) -> Any:
        """A media type's or parameter's example, or its schema's; None if there is none.

        Where the schema is a choice, the first example among its parts.
        """
        if "example" in media:
            return media["example"]
        schema = self.whole(media.get("schema", {}))
        parts = [schema, *map(self.whole, choices_of(schema))]
        return next((part["example"] for part in parts if "example" in part), None)


def choices_of(schema: Node) -> list[Node]:
    """What the schema leaves to choose from."""
    return list(schema.get("anyOf") or schema.get("oneOf") or ())


class Schemas:
    """Schemas in words, and their fields as nested lists."""

    def __init__(self, references: References) -> None:
        self._references = references

    def words(self, schema: Node, depth: int = 0) -> Html:
        """What a value may be: `integer (int64) | null, ≥ 0`."""
        if depth == _DEEPEST:
            return Html("…")
        schema = self._references.whole(schema)
        if choices := choices_of(schema):
            return joined((self.words(choice, depth + 1) for choice in choices), " | ")
        if "enum" in schema:
            values = joined(map(code, schema["enum"]), " | ")
            return joined([values, *_default(schema)], ", ")
        kind = self._type(schema, depth)
        return joined([kind, *_limits(schema), *_default(schema)], ", ")

    def _type(self, schema: Node, depth: int) -> Html:
        types = schema.get("type", "file" if "contentMediaType" in schema else "any value")
        names: list[str] = [types] if isinstance(types, str) else list(types)
        values = schema.get("items") if "array" in names else schema.get("additionalProperties")
        if isinstance(values, Mapping) and "properties" not in schema:
            of = self.words(values, depth + 1)
            names[0] = joined([names[0], " of ", Html(f"({of})") if " | " in of else of])
        elif schema.get("format", "double") != "double":
            names[0] = f"{names[0]} ({schema['format']})"
        return joined(names, " | ")

    def fields(self, schema: Node, depth: int = 0) -> Html:
        """The fields of an object, an array's items or each choice; nothing if it has none."""
        schema = self._references.whole(schema)
        if depth == _DEEPEST:
            return Html()
        parts = [self._choice(choice, depth + 1) for choice in choices_of(schema)]
        if isinstance(schema.get("items"), Mapping):
            parts.append(self.fields(schema["items"], depth + 1))
        required = schema.get("required", ())
        rows = [
            self._field(code(name), field, name in required, depth)
            for name, field in schema.get("properties", {}).items()
        ]
        others = schema.get("additionalProperties")
        if isinstance(others, Mapping) and (rows or self.fields(others, depth + 1)):
            label = "any other name" if rows else "each name"
            names = self._references.whole(schema.get("propertyNames", {}))
            rows.append(self._field(element("em", label), others, False, depth, names))
        if rows:
            parts.append(element("ul", *rows, class_="fields"))
        return joined(parts)

    def _choice(self, schema: Node, depth: int) -> Html:
        """The fields of one choice under its name and description; nothing if it has none."""
        fields = self.fields(schema, depth)
        if not fields:
            return fields
        name = schema.get("$ref", "").rpartition("/")[2]
        head = element("p", code(name)) if name else Html()
        return joined([head, prose(self._references.whole(schema).get("description")), fields])

    def _field(
        self, name: Html, schema: Node, required: bool, depth: int, names: Node | None = None
    ) -> Html:
        """A field; `names` is the schema of its name where that is not fixed."""
        whole = self._references.whole(schema)
        head = [name, " ", element("span", self.words(schema), class_="type")]
        if required:
            head += [" ", element("strong", "required", class_="required")]
        limits = joined(_limits(names), ", ") if names else Html()
        about_names = joined([names.get("description", ""), " ", limits]) if names else Html()
        return element(
            "li",
            element("div", *head),
            prose(whole.get("description")),
            element("p", "The name: ", about_names) if about_names.strip() else Html(),
            self.fields(schema, depth + 1),
        )


def _limits(schema: Node) -> list[Html]:
    """Bounds, lengths and pattern of a value."""
    limits: list[Html] = []
    for low, high, noun in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ):
        bounds = _bounds(schema.get(low), schema.get(high))
        if noun and bounds == "≥ 1":
            limits.append(Html("not empty"))
        elif bounds:
            limits.append(joined([bounds, noun]))
    if "pattern" in schema:
        limits.append(code(schema["pattern"]))
    return limits


def _default(schema: Node) -> list[Html]:
    return [joined(["default ", code(schema["default"])])] if "default" in schema else []


def _bounds(low: float | None, high: float | None) -> str:
    low = None if low in _UNBOUNDED else low
    high = None if high in _UNBOUNDED else high
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    return f"≥ {low:,}" if low is not None else f"≤ {high:,}" if high is not None else ""
