"""Real English prose that comes with every Python: its language reference, its docstrings."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ENOUGH = 500_000
"""Characters of docstrings to gather; about half of them are prose."""


def english_text() -> str:
    """Some 500,000 characters of prose about Python, a line each paragraph, each paragraph once.

    The reference repeats paragraphs under several topics. Each is taken once, so that no held-out
    paragraph is also among those that are trained on.
    """
    pages = [*_topics(), *_docstrings()]
    paragraphs = (" ".join(p.split()) for page in pages for p in page.split("\n\n"))
    return "\n\n".join(dict.fromkeys(p for p in paragraphs if _is_prose(p)))


def _is_prose(paragraph: str) -> bool:
    """Whether it is sentences: no code, table or heading."""
    letters = sum(c.isalpha() or c == " " for c in paragraph)
    ends = paragraph.endswith((".", ":", "?", "!", '"'))
    return ends and len(paragraph) >= 80 and letters >= 0.85 * len(paragraph)


def _topics() -> list[str]:
    """The language reference, as `help("FOR")` shows it."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return []
    return list(topics.values())


def _docstrings() -> Iterator[str]:
    """Documentation strings of the standard library's modules, read without importing them."""
    gathered = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                gathered += len(text)
                yield text
        if gathered > ENOUGH:
            return
