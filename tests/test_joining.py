"""The page's modules as one script: an import runs first, and a debugger finds every line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tunelog.server import pages
from tunelog.server.joining import join

MODULES = {
    "main.js": 'import { twice } from "./sum.js";\n\nconsole.log(twice(2));\n',
    "sum.js": 'import { ADD as plus } from "./add.js";\n\nexport function twice(n) {\n'
    "  return plus(n, n);\n}\n",
    "add.js": "/** Adds. */\nexport const ADD = (a, b) => a + b;\n",
    "unused.js": "export const NOTHING = 0;\n",
}

JOINED = """\
"use strict";
const modules = {};
modules["add.js"] = (() => {
/** Adds. */
const ADD = (a, b) => a + b;
return { ADD };
})();
modules["sum.js"] = (() => {
const { ADD: plus } = modules["add.js"];

function twice(n) {
  return plus(n, n);
}
return { twice };
})();
modules["main.js"] = (() => {
const { twice } = modules["sum.js"];

console.log(twice(2));
return {  };
})();
"""


def test_each_module_is_a_function_that_runs_after_what_it_imports() -> None:
    script, _ = join(MODULES, "main.js")
    assert script == JOINED


def test_a_library_runs_before_them_as_it_is_and_moves_no_line_of_theirs() -> None:
    library = "/*! somebody */\nvar library = 1;\n"
    script, source_map = join(MODULES, "main.js", library)
    head, tail = JOINED.split('modules["add.js"]', 1)
    assert script == head + library + f'modules["add.js"]{tail}'
    plain = json.loads(join(MODULES, "main.js")[1])
    assert json.loads(source_map) == {**plain, "mappings": f";;{plain['mappings']}"}


@pytest.mark.parametrize(
    "line",
    [
        'import "./add.js";',
        'import * as all from "./add.js";',
        "export default 1;",
        "export { a };",
    ],
)
def test_what_cannot_be_joined_is_refused_with_its_module(line: str) -> None:
    with pytest.raises(ValueError, match=r"main\.js: cannot be joined"):
        join({**MODULES, "main.js": f"{line}\n"}, "main.js")


def test_the_source_map_tells_whose_each_line_is() -> None:
    for modules in (MODULES, _own_modules()):
        script, text = join(modules, "main.js")
        source_map = json.loads(text)
        assert source_map["version"] == 3
        lines = script.split("\n")
        found = list(_mapped(source_map["mappings"]))
        assert sum(len(modules[name].splitlines()) for name in source_map["sources"]) == len(found)
        for at, source, line in found:
            original = modules[source_map["sources"][source]].split("\n")[line]
            if not original.startswith(("import ", "export ")):
                assert lines[at] == original


def _own_modules() -> dict[str, str]:
    known = pages.files(pages.FOLDER).items()
    return {
        name: file.plain.decode()
        for name, file in known
        if "/" not in name and name.endswith(".js")
    }


def _mapped(mappings: str) -> Iterator[tuple[int, int, int]]:
    """The generated line, the source and the line in it of every segment (ECMA-426)."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    source = line = 0
    for at, segment in enumerate(mappings.split(";")):
        numbers, value, shift = [], 0, 0
        for digit in map(digits.index, segment):
            value |= (digit & 31) << shift
            shift += 5
            if not digit & 32:
                numbers.append(-(value >> 1) if value & 1 else value >> 1)
                value = shift = 0
        if numbers:
            assert (len(numbers), numbers[0], numbers[3]) == (4, 0, 0)
            source, line = source + numbers[1], line + numbers[2]
            yield at, source, line
