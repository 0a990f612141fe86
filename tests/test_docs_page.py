"""The page at /docs: complete, safe, and made of nothing from elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import pytest
import yaml

from tunelog.server.docs_page import render

FOLDER = resources.files("tunelog.server")
METHODS = ("get", "post", "put", "patch", "delete")
HOSTILE = "</code><script>alert(1)</script>\"'><img src=//evil.example/x onerror=alert(1)>&lt;"
HOSTILE_LINKS = "![x](https://evil.example/x.png) [x](javascript:alert(1)) <iframe src=x></iframe>"


class Page(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.codes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tags and self.tags[-1][0] == "code":
            self.codes.add(data)

    def values(self, attribute: str) -> list[str]:
        """Every value of an attribute."""
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


def spec() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / "openapi.yaml").read_text())
    return document


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    document = spec()
    for path, item in document["paths"].items():
        base = item.get("servers", document["servers"])[0]["url"].rstrip("/")
        for method in METHODS:
            if method in item:
                yield method, base + path, item[method]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(spec()))


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [pytest.param(*o, id=o[2]["operationId"]) for o in operations()],
)
def test_each_operation_is_on_the_page_with_its_path_and_a_call(
    page: Page, method: str, path: str, operation: dict[str, Any]
) -> None:
    anchor = operation["operationId"]
    assert anchor in page.values("id")
    assert f"#{anchor}" in page.values("href")
    section = page.text[page.text.index(f"Operation {anchor} · ") - 200 :]
    assert f"{method.upper()}{path}" in section
    assert 'curl "$TUNELOG_URL' in section or "curl -X" in section


def test_each_named_field_is_on_the_page(page: Page) -> None:
    for name, schema in spec()["components"]["schemas"].items():
        for field in schema.get("properties", {}):
            assert field in page.codes, (name, field)


def test_every_link_into_the_page_has_one_target(page: Page) -> None:
    targets = Counter(page.values("id"))
    assert max(targets.values()) == 1
    assert {href[1:] for href in page.values("href") if href.startswith("#")} <= targets.keys()


def test_the_page_loads_its_own_style_sheet_and_nothing_else(page: Page) -> None:
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "iframe", "object", "embed", "style", "base", "form"}
    assert not page.values("src")
    assert not page.values("style")
    assert [attrs["href"] for tag, attrs in page.tags if tag == "link"] == ["/docs.css"]
    assert not re.search(r"@import|url\(|//\w", (FOLDER / "docs.css").read_text())


def test_the_text_of_a_hostile_document_stays_text() -> None:
    page = Page(render(_hostile(spec())))
    assert page.text.count("<script>alert(1)</script>") > 1000
    known = {tag for tag, _ in Page(render(spec())).tags}
    assert {tag for tag, _ in page.tags} <= known | {"a"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "src" for name in attributes), tag
        href = attributes.get("href") or "#"
        assert href.startswith(("#", "/docs.css", "/openapi.", "https://")), href


def test_a_schema_that_contains_itself_is_shown_to_some_depth() -> None:
    tree = {"type": "object", "properties": {"below": {"$ref": "#/components/schemas/Tree"}}}
    chain = {"type": "array", "items": {"$ref": "#/components/schemas/Chain"}}
    body = {"type": "object", "properties": {"t": tree, "c": chain}}
    html = render(
        {
            "info": {"title": "x"},
            "paths": {"/x": {"post": {"requestBody": {"content": {"text/x": {"schema": body}}}}}},
            "components": {"schemas": {"Tree": tree, "Chain": chain}},
        }
    )
    assert "post /x" in Page(html).text


def _hostile(node: Any, parent: str = "", above: str = "") -> Any:
    """The document with a hostile end on every text of it that is not a reference."""
    if isinstance(node, dict):
        renamed = parent in ("properties", "content", "headers", "responses", "paths") and (
            above != "components"
        )
        return {
            f"{key}{HOSTILE}" if renamed else key: _hostile(value, str(key), parent)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_hostile(value, parent, above) for value in node]
    if isinstance(node, str) and parent != "$ref":
        return node + HOSTILE + (HOSTILE_LINKS if parent == "description" else "")
    return node
