"""The docs say what is so: examples run, links lead somewhere, nothing that exists is missing."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import typer
import yaml

import tunelog
from tests.serving import COMMAND, PATIENCE, Server, require
from tunelog import config, errors
from tunelog.backends import open_backend
from tunelog.backends.sqlite.database import APPLICATION_ID, migrations
from tunelog.cli import app
from tunelog.model import Status
from tunelog.sender import records
from tunelog.server.errors import _TABLE
from tunelog.server.numbers import Numbers
from tunelog.server.public import openapi
from tunelog.server.siblings import alone

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
RUNNABLE = ("curl ", "printf ", "folder=", "tunelog jobs")
"""What a shell example begins with if it can be run: no server of its own, no network, no end."""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """The page and the line, for a test's name."""
        return f"{self.page.stem}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """The page's fenced blocks, in order; of these languages, if any are named."""
    text = page.read_text()
    found = [
        Block(page, text[: match.start()].count("\n") + 1, match[1], match[2])
        for match in re.finditer(r"(?ms)^```(\w+)\n(.*?)^```$", text)
    ]
    assert text.count("```") == 2 * len(found), f"{page.name} has a fence that is not closed"
    return [block for block in found if not languages or block.language in languages]


def named(found: Iterator[Block]) -> list[Any]:
    return [pytest.param(block, id=block.name) for block in found]


def every(*languages: str) -> list[Any]:
    return named(block for page in PAGES for block in blocks(page, *languages))


def section(page: str, heading: str) -> str:
    """A section of a page: from its heading to the next of the same level."""
    level = heading.partition(" ")[0]
    _, found, rest = text_of(page).partition(f"\n{heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    return rest.partition(f"\n{level} ")[0]


def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


# ---------------------------------------------------------------- links


def anchors(text: str) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text()), f"{page.name}: {target}"


def test_every_shell_example_of_these_pages_is_run() -> None:
    for file in DOCS:
        for block in blocks(file, "sh"):
            assert block.text.startswith(RUNNABLE), block.name


def test_the_index_names_every_page() -> None:
    text = text_of("index.md")
    for file in DOCS:
        assert file.name == "index.md" or f"]({file.name})" in text


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize("block", every("python", "json", "yaml"))
def test_an_example_is_valid(block: Block) -> None:
    parse: dict[str, Callable[[str], Any]] = {
        "python": ast.parse,
        "json": json.loads,
        "yaml": yaml.safe_load,
    }
    parse[block.language](block.text)


@pytest.mark.parametrize("block", every("sh", "console"))
def test_a_shell_example_uses_commands_and_flags_that_there_are(block: Block) -> None:
    for line in block.text.replace("\\\n", " ").splitlines():
        words = line.removeprefix("$ ").removeprefix(".venv/bin/")
        if words.startswith("tunelog ") and not words.startswith("tunelog 0."):
            check_command(shlex.split(words, comments=True)[1:])


def test_commands_in_the_text_are_commands() -> None:
    for file in PAGES:
        text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
        for words in re.findall(r"`tunelog ([^`]+)`", text):
            if words != "spool 2":  # how a spool begins
                check_command(words.split())


def check_command(words: list[str]) -> None:
    """That these words are a command, and its flags are known."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert words[:1] == [] or not hasattr(command, "commands"), f"no command {words[0]}"
    flags = {flag for parameter in command.params for flag in parameter.opts}
    if "--" in words:  # what comes behind it is another command
        del words[words.index("--") :]
    assert {word for word in words if word.startswith("-")} <= flags | {"--help"}


def whole_programs() -> Iterator[Block]:
    """Python examples that begin with an import, but for those that need Together's SDK."""
    for file in PAGES:
        for block in blocks(file, "python"):
            if block.text.startswith("import ") and "together" not in block.text:
                yield block


def environment(server: Server, folder: Path) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TUNELOG_", "XDG_"))}
    own = {"TUNELOG_URL": server.url, "TUNELOG_API_KEY": server.api_key, "HOME": str(folder)}
    return {**inherited, **own, "PYTHON": sys.executable}


@pytest.mark.parametrize("block", named(whole_programs()))
def test_a_whole_program_runs(block: Block, server: Server, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()  # what a directory of spools is in the examples
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.text],
        env=environment(server, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_backup_made_as_described_is_whole(fresh_server: Server, tmp_path: Path) -> None:
    with fresh_server.client() as api:
        job = api.post("/v1/fine-tunes", json={"model": "m"}).json()["id"]
    (example,) = (b for b in blocks(ROOT / "docs/operations.md", "python") if "backup" in b.text)
    subprocess.run([sys.executable, "-c", example.text], cwd=tmp_path, check=True)
    backend = open_backend(f"sqlite:///{tmp_path / 'backup.db'}")
    (project,) = backend.projects()
    assert [found.id for found in backend.store(project).jobs()] == [job]
    assert backend.authenticate(fresh_server.api_key).project == project
    backend.close()


SHELL = """
set -euo pipefail
tunelog() { "$PYTHON" -m tunelog "$@"; }
curl() {
  printf '\\036'
  case "$*" in
    *-N*) command curl -sS --fail-with-body --max-time 3 "$@" || [ $? -eq 28 ] ;;
    *) command curl -sS --fail-with-body --max-time 30 "$@" ;;
  esac
}
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_examples_run_and_answer_what_is_written(
    page: Path, server: Server, tmp_path: Path
) -> None:
    require(shutil.which("curl"), "the examples are for curl (Debian: curl)")
    variables = environment(server, tmp_path)
    answered: str | None = None
    for block in blocks(page):
        if block.language == "sh" and block.text.startswith(RUNNABLE):
            done = subprocess.run(
                ["bash", "-c", SHELL + block.text],
                env=variables,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, (block.name, done.stdout, done.stderr)
            answered = done.stdout.rpartition("\036")[2]
            continue
        if answered is not None and block.language == "json":
            assert fits(json.loads(block.text), json.loads(answered)), (block.name, answered)
        elif answered is not None and block.language in ("text", "csv"):
            shown = answered.replace("\r\n", "\n").strip()
            written = re.escape(block.text.strip()).replace("…", r"\S+")
            assert re.fullmatch(written, shown), (block.name, shown)
        answered = None


def fits(written: Any, answered: Any) -> bool:
    """Whether an answer is what is written, where "…" stands for any text."""
    if written == "…":
        return isinstance(answered, str)
    if type(written) is not type(answered):
        return False
    if isinstance(written, dict):
        same_keys = written.keys() == answered.keys()
        return same_keys and all(fits(value, answered[key]) for key, value in written.items())
    if isinstance(written, list):
        return len(written) == len(answered) and all(map(fits, written, answered))
    return bool(written == answered)


# ---------------------------------------------------------------- nothing is missing


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its name."""
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        for more, below in getattr(command, "commands", {}).items():
            yield f"{name} {more}", below
        if not hasattr(command, "commands"):
            yield name, command


def test_every_command_and_flag_is_documented_with_its_variable() -> None:
    shared = section("cli.md", "## Flags of every command that speaks to a service")
    for name, command in commands():
        own = section("cli.md", f"## tunelog {name}")
        if name == "serve":
            own += section("operations.md", "## Settings")
        if name == "tail":  # whose filters are those of `metrics`
            own += section("cli.md", "## tunelog metrics")
        for option in command.params:
            if option.param_type_name != "option" or option.opts == ["-h", "--help"]:
                continue
            text = own + shared if option.name in ("url", "api_key", "json") else own
            rows = [row for row in text.splitlines() if f"`{option.opts[0]}`" in row]
            assert all(f"`{flag}`" in text for flag in option.opts), (name, option.opts)
            assert any(f"`{option.envvar}`" in row for row in rows), (name, option.envvar)


def test_every_setting_is_documented_with_its_default() -> None:
    text = section("operations.md", "## Settings")
    for name in config.names():
        flag, variable = f"--{name.replace('_', '-')}", f"TUNELOG_{name.upper()}"
        assert f"| `{flag}` | `{variable}` | `{config.default(name)}` |" in text
    assert f"| `--host` | `TUNELOG_HOST` | `{config.DEFAULT_HOST}` |" in text
    assert f"| `--port` | `TUNELOG_PORT` | `{config.DEFAULT_PORT}` |" in text


def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    source = "\n".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r"TUNELOG_[A-Z_]*[A-Z]", source))
    read |= {o.envvar for _, command in commands() for o in command.params if o.envvar}
    written = set(re.findall(r"TUNELOG_[A-Z_]*[A-Z]", "".join(f.read_text() for f in DOCS)))
    assert written == read


def test_every_exit_code_is_documented() -> None:
    from tunelog.cli import INTERRUPTED, OK, REFUSED, UNREACHABLE, WRONG_USAGE

    text = section("cli.md", "## Exit codes")
    for code in (OK, REFUSED, WRONG_USAGE, UNREACHABLE, INTERRUPTED):
        assert f"| {code} |" in text


def test_every_operation_is_documented_with_its_call_and_scope() -> None:
    text = section("http-api.md", "## Operations")
    spec = openapi()
    rows = set()
    for path, item in spec["paths"].items():
        base = item.get("servers", spec["servers"])[0]["url"].rstrip("/")
        for method in item.keys() & {"get", "post", "patch", "delete", "put"}:
            operation = item[method]
            security = operation.get("security", spec["security"])
            scopes = security[0]["bearerAuth"] if security else ["no key"]
            call = f"`{method.upper()} {base}{path}`"
            rows.add(
                f"| `{operation['operationId']}` | {call} | {', '.join(scopes) or 'any key'} |"
            )
    assert {row for row in text.splitlines() if row.startswith("| `")} == rows


def test_every_parameter_of_a_read_is_documented() -> None:
    text = text_of("http-api.md")
    for parameter in openapi()["paths"]["/fine-tunes/{id}/metrics"]["get"]["parameters"]:
        name = parameter.get("name") or parameter["$ref"].rpartition("/")[2]
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() if "$ref" in parameter else name
        assert f"`{snake}" in text or snake == "job_id", snake


def test_every_error_is_documented_with_its_status_and_type() -> None:
    text = section("http-api.md", "## Errors")
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    for error in found:
        assert f"`{error.__name__}`" in text
    for error, (status, kind, headers) in _TABLE.items():
        if error is not errors.TunelogError:
            assert f"| {status} | `{kind}` | `{error.__name__}` |" in text
        assert all(name in text for name in headers if name != "WWW-Authenticate")


def test_every_word_of_the_glossary_is_there() -> None:
    glossary = text_of("concepts.md").partition("\n## ")[0]
    words = """project job attempt writer snapshot metric series global_step logged_at resolution
        recorder spool catalog event checkpoint arrival cursor superseded block receipt session"""
    for word in [
        *words.split(),
        "store",
        "backend",
        "effective history",
        "train snapshot",
        "share link",
    ]:
        assert re.search(rf"(?m)^\| {word}\b", glossary), word
    for status in Status.__args__:  # type: ignore[attr-defined]
        assert f"`{status}`" in section("concepts.md", "## A job's life")


def test_every_table_column_and_index_is_documented() -> None:
    text = text_of("storage-format.md")
    for _, script in migrations():
        script = re.sub(r"--.*", "", script)
        for table, columns in re.findall(r"CREATE TABLE (\w+) \((.*?)\)[^,()]*;", script, re.S):
            assert f"`{table}`" in text
            for column in re.findall(r"(?m)^\s*([a-z_]+) [A-Z]", columns):
                assert f"`{column}`" in text, (table, column)
        for index in re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+)", script):
            assert f"`{index}`" in text
    assert f"`0x{APPLICATION_ID:X}`" in text
    assert f"| `user_version` | {migrations()[-1][0]} |" in text


def test_the_recorder_is_documented() -> None:
    text = text_of("recorder.md")
    for name in tunelog.__all__:
        assert f"`tunelog.{name}`" in text or name == "Recorder"
    public = [name for name in vars(tunelog.Recorder) if not name.startswith("_")]
    for name in [*public, *inspect.signature(tunelog.init).parameters]:
        assert re.search(rf"`{name}\b", text) or name == "fields", name
    for record in msgspec.inspect.type_info(records.Record).types:  # type: ignore[attr-defined]
        assert f"| `{record.tag}` |" in section("recorder.md", "## The spool")
        for field in record.fields:
            assert f"`{field.name}`" in text


def test_every_number_for_prometheus_is_documented() -> None:
    text = section("operations.md", "## Numbers for Prometheus")
    numbers = Numbers(alone())
    numbers.begun()
    numbers.ended("get_metrics", 200, 0.1, 1)
    found = set(re.findall(r"(?m)^# TYPE (tunelog_\w+)", numbers.text().decode()))
    for name in found:
        assert f"`{name}`" in text


def test_the_version_in_the_docs_is_the_version() -> None:
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tunelog {tunelog.__version__}\n"
    assert set(re.findall(r"tunelog (\d+\.\d+\.\d+)", text_of("operations.md"))) == {
        tunelog.__version__
    }
