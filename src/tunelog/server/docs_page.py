"""The OpenAPI document as one page to read: no script, and nothing from another host."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from tunelog.server.docs_html import Html, code, code_block, element, joined, prose, prose_line
from tunelog.server.docs_schema import Node, References, Schemas

_METHODS = ("get", "post", "put", "patch", "delete")


def render(spec: dict[str, Any]) -> str:
    """The page; it links `/docs.css` and loads nothing else."""
    return _Page(spec).html()


# ---------------------------------------------------------------- the document


class _Operation(NamedTuple):
    """An operation and where it is called.

    Attributes:
        id: its operationId.
        method: in capitals.
        path: from the server's root.
        node: the Operation Object.
        parameters: those of the path and its own, resolved.
    """

    id: str
    method: str
    path: str
    node: Node
    parameters: list[Node]

    def parameters_in(self, place: str) -> list[Node]:
        """Its parameters in the path, the query or the headers."""
        return [p for p in self.parameters if p["in"] == place]


class _Document(References):
    """The OpenAPI document and its operations."""

    def operations(self) -> Iterator[_Operation]:
        """Every operation in the order of the document."""
        for path, item in self.spec.get("paths", {}).items():
            servers = item.get("servers") or self.spec.get("servers") or [{"url": "/"}]
            base = str(servers[0]["url"]).rstrip("/")
            for method in _METHODS:
                if method in item:
                    node = item[method]
                    parameters = [*item.get("parameters", ()), *node.get("parameters", ())]
                    yield _Operation(
                        id=node.get("operationId", f"{method} {path}"),
                        method=method.upper(),
                        path=base + path,
                        node=node,
                        parameters=[self.resolved(p) for p in parameters],
                    )

    def groups(self) -> Iterator[tuple[Node, list[_Operation]]]:
        """Each tag and the operations whose first tag it is; operations without one at the end."""
        tags = [*self.spec.get("tags", ()), {"name": "Other"}]
        names = [tag["name"] for tag in tags]
        groups: dict[str, list[_Operation]] = {name: [] for name in names}
        for operation in self.operations():
            first = next(iter(operation.node.get("tags", ())), "Other")
            groups[first if first in groups else "Other"].append(operation)
        for tag in tags:
            if groups[tag["name"]]:
                yield tag, groups[tag["name"]]

    def schemas(self) -> dict[str, Node]:
        """The named schemas that have fields."""
        named = self.spec.get("components", {}).get("schemas", {})
        whole = {name: self.whole(schema) for name, schema in named.items()}
        return {name: schema for name, schema in whole.items() if "properties" in schema}


# ---------------------------------------------------------------- the page


class _Page:
    """The page's parts."""

    def __init__(self, spec: Node) -> None:
        self._spec = spec
        self._document = _Document(spec)
        self._schemas = Schemas(self._document)

    def html(self) -> str:
        """The whole page."""
        title = f"{self._spec['info']['title']} API"
        head = element(
            "head",
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            element("title", title),
            Html('<link rel="stylesheet" href="/docs.css">'),
        )
        body = element(
            "body",
            element("a", "Skip to the content", href="#content", class_="skip"),
            element("header", element("h1", title), self._facts()),
            self._contents(),
            element("main", self._introduction(), *self._groups(), self._named(), id="content"),
        )
        return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"

    def _facts(self) -> Html:
        info = self._spec["info"]
        facts = [
            f"Version {info.get('version', '?')}",
            f"OpenAPI {self._spec.get('openapi', '?')}",
            info.get("license", {}).get("name", ""),
            element("a", "YAML", href="/openapi.yaml"),
            element("a", "JSON", href="/openapi.json"),
        ]
        return element("ul", *(element("li", fact) for fact in facts if fact), class_="facts")

    def _contents(self) -> Html:
        parts = []
        for tag, operations in self._document.groups():
            links = (
                element("li", element("a", _badge(o), " ", _title(o), href=f"#{_anchor(o.id)}"))
                for o in operations
            )
            parts += [
                element("p", element("a", tag["name"], href=f"#{_anchor(tag['name'])}")),
                element("ul", *links),
            ]
        parts.append(element("p", element("a", "Schemas", href="#schemas")))
        return element("nav", *parts, aria_label="Contents")

    def _introduction(self) -> Html:
        info = self._spec["info"]
        summary = element("p", info["summary"], class_="lead") if "summary" in info else Html()
        return element("section", summary, prose(info.get("description")))

    def _groups(self) -> Iterator[Html]:
        for tag, operations in self._document.groups():
            anchor = _anchor(tag["name"])
            yield element(
                "section",
                element("h2", tag["name"], id=anchor),
                prose(tag.get("description")),
                *map(self._operation, operations),
                aria_labelledby=anchor,
            )

    def _named(self) -> Html:
        """The named schemas, each folded; an error answer links to its own."""
        items = [
            element(
                "details",
                element("summary", code(name)),
                Html(f'<span id="{_anchor("schema", name)}"></span>'),
                prose(schema.get("description")),
                self._schemas.fields(schema),
                code_block(schema["example"]) if "example" in schema else "",
            )
            for name, schema in self._document.schemas().items()
        ]
        heading = element("h2", "Schemas", id="schemas")
        return element("section", heading, *items, aria_labelledby="schemas")

    # ------------------------------------------------------------ an operation

    def _operation(self, operation: _Operation) -> Html:
        anchor = _anchor(operation.id)
        link = element("a", _title(operation), href=f"#{anchor}")
        return element(
            "article",
            element("h3", link, id=anchor),
            element("p", _badge(operation), code(operation.path), class_="endpoint"),
            element(
                "p",
                "Operation ",
                code(operation.id),
                " · ",
                self._access(operation),
                class_="muted",
            ),
            prose(operation.node.get("description")),
            self._parameters(operation),
            self._body(operation),
            self._answers(operation),
            element("h4", "Try it"),
            code_block(self._curl(operation)),
            aria_labelledby=anchor,
        )

    def _access(self, operation: _Operation) -> Html:
        """Which key it takes."""
        security = operation.node.get("security", self._spec.get("security", []))
        if not security:
            return Html("no key needed")
        scopes = [scope for names in security[0].values() for scope in names]
        if not scopes:
            return Html("any key")
        return joined(["scope ", joined(map(code, scopes), ", ")])

    def _parameters(self, operation: _Operation) -> Html:
        if not operation.parameters:
            return Html()
        return joined(
            [
                element("h4", "Parameters"),
                _table(
                    ("Name", "In", "Meaning"),
                    [(code(p["name"]), p["in"], self._parameter(p)) for p in operation.parameters],
                ),
            ]
        )

    def _parameter(self, parameter: Node) -> Html:
        schema = parameter.get("schema", {})
        text = parameter.get("description") or self._document.whole(schema).get("description")
        parts: list[str] = [element("span", self._schemas.words(schema), class_="type")]
        if parameter.get("required"):
            parts += [" ", element("strong", "required", class_="required")]
        example = self._document.example(parameter)
        shown = element("p", "Example: ", code(example)) if example is not None else Html()
        return joined([element("div", *parts), prose(text), shown])

    def _body(self, operation: _Operation) -> Html:
        body = self._document.resolved(operation.node.get("requestBody", {}))
        if not body:
            return Html()
        heading = "Request body" if body.get("required") else "Request body (optional)"
        media = (self._media(*item, folded=False) for item in body["content"].items())
        return joined([element("h4", heading), prose(body.get("description")), *media])

    def _answers(self, operation: _Operation) -> Html:
        responses = {
            status: self._document.resolved(response)
            for status, response in operation.node.get("responses", {}).items()
        }
        good = [self._answer(s, r) for s, r in responses.items() if str(s) < "400"]
        errors = {s: r for s, r in responses.items() if str(s) >= "400"}
        return joined([element("h4", "Answers"), *good, self._errors(errors)])

    def _answer(self, status: str, response: Node) -> Html:
        line = element("p", code(str(status)), " ", prose_line(response.get("description", "")))
        media = (self._media(*item, folded=True) for item in response.get("content", {}).items())
        return joined([line, self._headers(response), *media])

    def _errors(self, responses: Mapping[str, Node]) -> Html:
        if not responses:
            return Html()
        rows = [
            (code(str(status)), joined([prose_line(response.get("description", "")), *link]))
            for status, response in responses.items()
            for link in [self._schema_link(response)]
        ]
        return _table(("Status", "Meaning"), rows)

    def _schema_link(self, response: Node) -> list[str]:
        """A link to the schema of an error's body, if it has a name."""
        for media in response.get("content", {}).values():
            name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if name:
                return [" Body: ", element("a", name, href=f"#{_anchor('schema', name)}")]
        return []

    def _headers(self, response: Node) -> Html:
        rows = []
        for name, reference in response.get("headers", {}).items():
            header = self._document.resolved(reference)
            kind = element("span", self._schemas.words(header.get("schema", {})), class_="type")
            rows.append((code(name), joined([kind, prose(header.get("description"))])))
        return _table(("Header", "Meaning"), rows) if rows else Html()

    def _media(self, name: str, media: Node, *, folded: bool) -> Html:
        """A body of one content type: its fields, folded in an answer, and an example."""
        schema = media.get("schema", {})
        whole = self._document.whole(schema)
        fields = self._schemas.fields(schema)
        if fields and folded:
            fields = element("details", element("summary", "Fields"), fields)
        example = self._document.example(media)
        return element(
            "div",
            element("p", code(name), class_="media"),
            prose(whole.get("description")),
            fields,
            code_block(example) if example is not None else Html(),
            class_="body",
        )

    # ------------------------------------------------------------ curl

    def _curl(self, operation: _Operation) -> str:
        """A call of the operation, to be pasted into a shell."""
        parts = ["curl"]
        if operation.method != "GET":
            parts[0] += f" -X {operation.method}"
        parts[0] += f' "$TUNELOG_URL{self._target(operation)}"'
        if operation.node.get("security", self._spec.get("security")):
            parts.append('-H "Authorization: Bearer $TUNELOG_API_KEY"')
        body = self._document.resolved(operation.node.get("requestBody", {}))
        for content_type, media in list(body.get("content", {}).items())[:1]:
            example = self._document.example(media)
            text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
            parts += [
                f"-H {shlex.quote(f'Content-Type: {content_type}')}",
                f"-d {shlex.quote(text)}",
            ]
        return " \\\n  ".join(parts)

    def _target(self, operation: _Operation) -> str:
        """The path with the examples of its parameters, and of the first two of a GET's query."""
        path = operation.path
        for parameter in operation.parameters_in("path"):
            value = quote(str(self._document.example(parameter)), safe="")
            path = path.replace(f"{{{parameter['name']}}}", value)
        path = quote(path, safe="/%:")
        if operation.method != "GET":
            return path
        query = [
            f"{quote(p['name'], safe='')}={quote(str(self._document.example(p)), safe=',/')}"
            for p in operation.parameters_in("query")[:2]
        ]
        return f"{path}?{'&'.join(query)}" if query else path


def _badge(operation: _Operation) -> Html:
    method = operation.method
    return element("span", method, class_=f"method {method.lower()}")


def _title(operation: _Operation) -> str:
    return str(operation.node.get("summary", operation.id))


def _anchor(*names: str) -> str:
    return "-".join(re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lower() for name in names)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Html:
    """A table; its roles are named, since a narrow window lays its cells out as blocks."""
    head = element("tr", *(element("th", h, scope="col") for h in heads), role="row")
    body = [
        element("tr", *(element("td", cell, role="cell") for cell in row), role="row")
        for row in rows
    ]
    return element("table", element("thead", head), element("tbody", *body), role="table")
