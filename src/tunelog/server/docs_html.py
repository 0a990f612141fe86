"""HTML made of text that nobody has vouched for.

Every text is escaped, or is Markdown that is rendered without HTML and images. Only `Html` passes
as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape

from markdown_it import MarkdownIt

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, *parts: str, **attributes: str) -> Html:
    """An element; a part that is not `Html` is escaped. `class_` stands for `class`."""
    opening = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{opening}>{joined(parts)}</{name}>")


def joined(parts: Iterable[str], separator: str = "") -> Html:
    """The parts one after another; one that is not `Html` is escaped."""
    return Html(separator.join(part if isinstance(part, Html) else escape(part) for part in parts))


def prose(text: str | None) -> Html:
    """Markdown, rendered."""
    return Html(_markdown.render(text)) if text else Html()


def prose_line(text: str) -> Html:
    """A line of Markdown, rendered without a paragraph around it."""
    return Html(_markdown.renderInline(text))


def code(value: object) -> Html:
    """A value as it is written in JSON; a string as it is."""
    return element("code", value if isinstance(value, str) else json.dumps(value))


def code_block(value: object) -> Html:
    """Some lines of text, or a value as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return element("pre", element("code", text.strip("\n")))
