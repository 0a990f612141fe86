"""The page's modules as one script, so that a browser asks once where it would ask thirty times.

Nothing is rewritten but import and export: each module is a function, run after those that it
imports from, and keeps its lines. A source map tells a debugger which line is whose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

import msgspec

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*$", re.MULTILINE)
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def join(modules: Mapping[str, str], main: str, library: str = "") -> tuple[str, str]:
    """What `main` needs as one script, and its source map as JSON.

    Args:
        modules: the modules' text by name; what they import from one another is on one line each.
        main: the name of the one that is run last.
        library: a plain script that is run first, as it is.
    """
    lines = ['"use strict";', "const modules = {};", *library.splitlines()]
    whose: list[tuple[int, int] | None] = [None] * len(lines)
    names = list(_in_order(modules, main))
    for index, name in enumerate(names):
        text, exported = _plain(name, modules[name])
        body = text.rstrip("\n").split("\n")
        lines += [f'modules["{name}"] = (() => {{', *body, f"return {{ {exported} }};", "})();"]
        whose += [None, *((index, line) for line in range(len(body))), None, None]
    source_map = {"version": 3, "sources": names, "names": [], "mappings": _mappings(whose)}
    return "\n".join([*lines, ""]), msgspec.json.encode(source_map).decode()


def _in_order(modules: Mapping[str, str], main: str) -> Iterator[str]:
    """The modules that `main` needs, each after those that it imports from, itself last."""
    begun: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name not in begun:
            begun.add(name)
            for found in _IMPORT.finditer(modules[name]):
                yield from visit(found[2])
            yield name

    return visit(main)


def _plain(name: str, text: str) -> tuple[str, str]:
    """A module's text without the words of modules, line by line, and what it exports."""
    exported = ", ".join(found[1] for found in _EXPORT.finditer(text))
    plain = _EXPORT.sub("", _IMPORT.sub(_taken, text))
    if other := _OTHER.search(plain):
        raise ValueError(f"{name}: cannot be joined: {other[0]}")
    return plain, exported


def _taken(found: re.Match[str]) -> str:
    names = found[1].replace(" as ", ": ")
    return f'const {{{names}}} = modules["{found[2]}"];'


def _mappings(whose: list[tuple[int, int] | None]) -> str:
    """The (source, line) of each line, as source maps have it: differences in base 64."""
    known = [(0, 0), *(one for one in whose if one is not None)]
    steps = iter(pairwise(known))
    return ";".join("" if one is None else _segment(*next(steps)) for one in whose)


def _segment(before: tuple[int, int], now: tuple[int, int]) -> str:
    return "".join(map(_vlq, (0, now[0] - before[0], now[1] - before[1], 0)))


def _vlq(number: int) -> str:
    """A number in five bits a digit, the lowest first; its sign is the lowest bit."""
    rest, digits = abs(number) << 1 | (number < 0), ""
    while rest > 31:
        digits += _DIGITS[rest & 31 | 32]
        rest >>= 5
    return digits + _DIGITS[rest]
