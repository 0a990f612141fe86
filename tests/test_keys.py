"""API keys: what each may do, how they are made and revoked, and where their secrets never are."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from tests.commands import OK, REFUSED, WRONG_USAGE, run
from tests.exchanges import connected, head, received, refused
from tests.serving import PATIENCE, Row, Server, create_job
from tests.tailing import tailing
from tunelog import cli
from tunelog.access import Scope
from tunelog.backends import open_backend
from tunelog.server.app import OPERATIONS, Operation

ROW: Row = {"timestamp": 1_000, "train/global_step": 1, "train/loss": 0.5}
NO_KEY = "an API key is required: Authorization: Bearer <key>"
WRONG_KEY = "this API key does not exist or was revoked"
BODIES: dict[tuple[str, str], Row] = {
    ("POST", "/fine-tunes"): {"model": "m"},
    ("PATCH", "/fine-tunes/{id}"): {"name": "new"},
    ("POST", "/fine-tunes/{id}/attempts"): {},
    ("POST", "/fine-tunes/{id}/events"): {"type": "warning", "message": "hot"},
    ("POST", "/fine-tunes/{id}/checkpoints"): {"step": 1, "path": "/c"},
    ("POST", "/fine-tunes/{id}/metrics"): {"metrics": [ROW]},
    ("POST", "/metrics/query"): {"jobs": ["ft-nobody"]},
}
OF_A_JOB = [operation for operation in OPERATIONS if "{id}" in operation.path]


class Key(NamedTuple):
    """A key as `tunelog keys create` made it."""

    id: str
    secret: str


def made_key(server: Server, *scopes: Scope, project: str = "default") -> Key:
    """A key made in the store itself, which is quicker, while the server runs."""
    backend = open_backend(server.store)
    try:
        key, secret = backend.create_key(backend.create_project(project), scopes)
    finally:
        backend.close()
    return Key(key.id, secret)


def create_key(server: Server, *scopes: str, project: str = "default") -> Key:
    """A key made on the command line, while the server runs."""
    flags = [part for scope in scopes for part in ("--scope", scope)]
    done = run(server, "keys", "create", "--store", server.store, "--project", project, *flags)
    assert done.returncode == OK, done.stderr
    secret = done.stdout.removesuffix("\n")
    assert re.fullmatch(r"tl-[A-Za-z0-9_-]{43}", secret), done.stdout
    said = re.fullmatch(rf"key (key-[0-9a-f-]{{36}}) of project {project}: (.*)\n", done.stderr)
    assert said, done.stderr
    assert said[2] == " ".join(dict.fromkeys(scopes or ("read", "write")))
    return Key(said[1], secret)


def listed(server: Server, *options: str) -> list[dict[str, Any]]:
    """The keys that `tunelog keys list` knows."""
    done = run(server, "keys", "list", "--store", server.store, "--json", *options)
    assert (done.returncode, done.stderr) == (OK, "")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def client(server: Server, key: Key) -> httpx2.Client:
    """A client of the server that has this key."""
    headers = {"Authorization": f"Bearer {key.secret}"}
    return httpx2.Client(base_url=server.url, headers=headers, timeout=PATIENCE, verify=False)


def call(
    api: httpx2.Client, operation: Operation, job_id: str, share_id: str = "sh-nobody"
) -> httpx2.Response:
    """The answer to a good request for an operation on a job, or on a share link."""
    path = "/v1" + operation.path.format(id=job_id, share=share_id)
    body = {"jobs": [job_id]} if operation.path == "/shares" else BODIES.get(operation[:2])
    return api.request(operation.method, path, json=body)


def titled(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


# ---------------------------------------------------------------- what a key may do


@pytest.fixture(scope="module")
def clients(server: Server) -> Iterator[dict[str, httpx2.Client]]:
    """A client for each scope, and one for another project."""
    scopes: tuple[Scope, ...] = ("read", "write", "admin")
    keys: dict[str, Key] = {scope: made_key(server, scope) for scope in scopes}
    keys["elsewhere"] = made_key(server, "admin", project="elsewhere")
    made = {name: client(server, key) for name, key in keys.items()}
    yield made
    for each in made.values():
        each.close()


@pytest.mark.parametrize("operation", OPERATIONS, ids=titled)
def test_a_scope_opens_its_operations_and_no_others(
    api: httpx2.Client, clients: dict[str, httpx2.Client], operation: Operation
) -> None:
    includes = {"read": {"read"}, "write": {"write"}, "admin": {"read", "write", "admin"}}
    for name, scopes in includes.items():
        job = create_job(api)
        share = api.post("/v1/shares", json={"jobs": [job.id]}).json()
        answer = call(clients[name], operation, job.id, share["id"])
        if operation.scope is not None and operation.scope not in scopes:
            refused(answer, 403, f"this API key lacks the scope {operation.scope}")
            again = call(clients["admin"], operation, job.id, share["id"])
            assert again.status_code in (200, 400)
        elif operation[:2] == ("POST", "/shares") and "read" not in scopes:
            refused(answer, 403, "this API key lacks the scope read")
        elif operation.path == "/fine-tunes//metrics":
            refused(answer, 400, "missing job ID", "id")
        else:
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("operation", OPERATIONS, ids=titled)
@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", NO_KEY),
        ("Bearer", NO_KEY),
        ("Basic dHVuZWxvZzp0dW5lbG9n", NO_KEY),
        ("Bearer tl-nobodys", WRONG_KEY),
        ("Bearer tl-\xff\xfe", WRONG_KEY),
    ],
)
def test_every_operation_needs_a_key(
    server: Server, api: httpx2.Client, operation: Operation, header: str, message: str
) -> None:
    with httpx2.Client(base_url=server.url, verify=False) as stranger:
        stranger.headers = httpx2.Headers({"Authorization": header} if header else {}, "latin-1")
        answer = call(stranger, operation, "ft-nobody")
    refused(answer, 401, message)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_is_asked_for_before_the_body_is_sent(server: Server) -> None:
    wrong = head(server, "POST", "/v1/fine-tunes", "Content-Length: 100")
    with connected(server) as connection:
        connection.sendall(wrong.replace(server.api_key.encode(), b"tl-nobodys"))
        refused(received(connection, "POST"), 401, WRONG_KEY)


def test_who_asks_whether_to_send_a_body_is_told_of_a_wrong_key_first(server: Server) -> None:
    asking = ("Content-Length: 100", "Expect: 100-continue")
    wrong = head(server, "POST", "/v1/fine-tunes", *asking)
    with connected(server) as connection:
        connection.sendall(wrong.replace(server.api_key.encode(), b"tl-nobodys"))
        assert connection.recv(12) == b"HTTP/1.1 401"


def test_the_scheme_may_be_written_in_any_case(server: Server) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        headers = {"Authorization": f"{scheme} {server.api_key}"}
        answer = httpx2.get(f"{server.url}/v1/whoami", headers=headers, verify=False)
        assert answer.status_code == 200


def test_a_scope_is_missed_before_a_job_is(clients: dict[str, httpx2.Client]) -> None:
    answer = clients["read"].delete("/v1/fine-tunes/ft-nobody")
    refused(answer, 403, "this API key lacks the scope admin")


# ---------------------------------------------------------------- projects


@pytest.mark.parametrize("operation", OF_A_JOB, ids=titled)
def test_another_projects_job_is_an_unknown_one(
    api: httpx2.Client, clients: dict[str, httpx2.Client], operation: Operation
) -> None:
    job = create_job(api)
    path = f"/v1/fine-tunes/{job.id}"
    api.post(f"{path}/metrics", json={"metrics": [ROW]})
    before = [api.get(at).json() for at in (path, f"{path}/metrics", f"{path}/attempts")]
    refused(call(clients["elsewhere"], operation, job.id), 404, f"no job {job.id}")
    after = [api.get(at).json() for at in (path, f"{path}/metrics", f"{path}/attempts")]
    assert after == before


def test_another_projects_jobs_are_not_listed_nor_queried_nor_tailed(
    api: httpx2.Client, clients: dict[str, httpx2.Client]
) -> None:
    job, stranger = create_job(api), clients["elsewhere"]
    assert job.id not in [entry["id"] for entry in stranger.get("/v1/fine-tunes").json()["data"]]
    found = stranger.post("/v1/metrics/query", json={"jobs": [job.id]}).json()
    assert found["jobs"][job.id]["error"]["message"] == f"no job {job.id}"
    tail = stranger.get(f"/v1/fine-tunes/{job.id}/metrics", headers={"Accept": "text/event-stream"})
    refused(tail, 404, f"no job {job.id}")


def test_projects_may_use_one_id_for_jobs_of_their_own(
    api: httpx2.Client, clients: dict[str, httpx2.Client]
) -> None:
    job = create_job(api)
    path = f"/v1/fine-tunes/{job.id}"
    api.post(f"{path}/metrics", json={"metrics": [ROW]})
    theirs = clients["elsewhere"].post("/v1/fine-tunes", json={"id": job.id, "model": "theirs"})
    assert (theirs.json()["id"], theirs.json()["model"]) == (job.id, "theirs")
    assert clients["elsewhere"].get(f"{path}/metrics").json() == {"metrics": []}
    assert clients["elsewhere"].delete(path).status_code == 200
    assert api.get(f"{path}/metrics").json() == {"metrics": [ROW]}


@pytest.mark.parametrize("path", ["/v1/whoami", "/v3/whoami", "/v1/v3/whoami", "/whoami"])
def test_whoami_fits_the_flat_and_the_nested_form(server: Server, path: str) -> None:
    key = made_key(server, "read", "write", project="elsewhere")
    with client(server, key) as api:
        found = api.get(path).json()
    project = found["project_id"]
    assert re.fullmatch(r"proj-[0-9a-f-]{36}", project)
    assert found == {
        "type": "project_api_key",
        "api_key_id": key.id,
        "organization_id": project,
        "organization_name": "elsewhere",
        "project_id": project,
        "project_name": "elsewhere",
        "project_slug": "elsewhere",
        "user_id": project,
        "api_key": {"id": key.id, "name": f"…{key.secret[-4:]}"},
        "organization": {"id": project, "name": "elsewhere"},
        "project": {"id": project, "name": "elsewhere", "slug": "elsewhere"},
        "scopes": ["read", "write"],
    }


# ---------------------------------------------------------------- the command


def test_a_revoked_key_is_useless_at_once_while_the_server_runs(server: Server) -> None:
    key, other = create_key(server, "read"), made_key(server, "read")
    with client(server, key) as api, client(server, other) as witness:
        assert api.get("/v1/fine-tunes").status_code == 200
        done = run(server, "keys", "revoke", key.id, "--store", server.store)
        assert (done.returncode, done.stdout, done.stderr) == (OK, "", f"{key.id} is revoked\n")
        refused(api.get("/v1/fine-tunes"), 401, WRONG_KEY)
        assert witness.get("/v1/fine-tunes").status_code == 200
    revoked = {row["id"]: row["revoked_at"] for row in listed(server)}
    assert revoked[other.id] is None
    assert revoked[key.id] is not None
    assert cli.run(("keys", "revoke", key.id, "--store", server.store)) == OK
    assert {row["id"]: row["revoked_at"] for row in listed(server)} == revoked


def test_a_live_tail_ends_when_its_key_is_revoked(server: Server) -> None:
    key = create_key(server, "admin")
    with client(server, key) as api, tailing(api, create_job(api).id) as tail:
        tail.until_now()
        assert run(server, "keys", "revoke", key.id, "--store", server.store).returncode == OK
        assert list(tail) == []


def test_keys_are_listed_by_project_and_never_with_their_secrets(server: Server) -> None:
    key = create_key(server, "admin", "read", "admin", project="listed")
    (row,) = listed(server, "--project", "listed")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row["created_at"])
    assert row == {
        "id": key.id,
        "project": "listed",
        "scopes": ["admin", "read"],
        "hint": key.secret[-4:],
        "created_at": row["created_at"],
        "revoked_at": None,
    }
    table = run(server, "keys", "list", "--store", server.store, COLUMNS="200")
    assert (table.returncode, table.stderr) == (OK, "")
    (line,) = [line for line in table.stdout.splitlines() if key.id in line]
    words = [key.id, "listed", "admin", "read", key.secret[-4:], row["created_at"][:19]]
    assert line.split() == words
    assert key.secret not in table.stdout


def test_every_flag_is_a_variable(server: Server) -> None:
    done = run(
        server,
        *("keys", "create"),
        TUNELOG_STORE=server.store,
        TUNELOG_PROJECT="by-variable",
        TUNELOG_SCOPE="read admin",
    )
    assert done.returncode == OK
    done = run(server, "keys", "list", TUNELOG_STORE=server.store, TUNELOG_JSON="1")
    rows = {row["project"]: row["scopes"] for row in json.loads(done.stdout)}
    assert rows["by-variable"] == ["read", "admin"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("create", "--scope", "boss"), WRONG_USAGE, "'boss' is none of read, write, admin"),
        (("create", "--project", " "), WRONG_USAGE, "a name is wanted"),
        (("create", "--project", "a\nb"), WRONG_USAGE, "a name is wanted"),
        (("revoke", "key-nobody"), REFUSED, "no key key-nobody"),
        (("revoke",), WRONG_USAGE, "Missing argument 'key'"),
    ],
)
def test_what_a_command_cannot_do_is_one_line_and_an_exit_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    store = f"sqlite:///{tmp_path / 'store.db'}"
    open_backend(store).close()
    assert cli.run(("keys", *arguments, "--store", store)) == code
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.startswith("tunelog: ")
    assert said.count("\n") == 1
    assert message in said
    assert cli.run(("keys", "list", "--json", "--store", store)) == OK
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize("arguments", [("list",), ("revoke", "key-nobody")])
def test_a_store_that_is_not_there_is_not_made_to_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    path = tmp_path / "store.db"
    assert cli.run(("keys", *arguments, "--store", f"sqlite:///{path}")) == REFUSED
    assert capsys.readouterr() == ("", f"tunelog: {path}: there is no store\n")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- secrets


def test_only_a_hash_of_a_secret_is_kept_and_no_line_tells_it(
    fresh_server: Server, tmp_path: Path
) -> None:
    key = create_key(fresh_server, "admin")
    with client(fresh_server, key) as api:
        api.get(f"/v1/fine-tunes?api_key={key.secret}")
        api.get("/v1/fine-tunes/ft-nobody", headers={"X-Secret": key.secret})
        api.post("/v1/fine-tunes", content=b"{")
        fresh_server.wait_for_log(lambda lines: len(lines) >= 3)
    for secret in (key.secret, fresh_server.api_key):
        kept = b"".join(
            path.read_bytes() for path in tmp_path.glob("tunelog.db*") if path.suffix != ".key"
        )
        assert secret.encode() not in kept
        assert hashlib.sha256(secret.encode()).digest() in kept
        assert secret not in "\n".join(fresh_server.log)
    assert fresh_server.stop() == 0
    assert key.secret not in "\n".join(fresh_server.printed + fresh_server.log)


def test_the_first_start_keeps_its_key_in_a_file_for_the_user_alone(tmp_path: Path) -> None:
    key_file = tmp_path / "tunelog.db.key"
    key_file.write_text("an older store's\n")
    key_file.chmod(0o644)
    before = os.umask(0)
    try:
        with Server(tmp_path) as server:
            assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
            assert key_file.read_text() == f"{server.api_key}\n"
            with server.client() as api:
                me = api.get("/v1/whoami").json()
            assert (me["project_name"], me["scopes"]) == ("default", ["admin"])
            written = key_file.stat()
            server.restart()
            assert not any(server.api_key in line for line in server.printed)
            assert f"The key of project default is in {key_file}" in server.printed
            assert (key_file.stat().st_ino, key_file.stat().st_mtime_ns) == (
                written.st_ino,
                written.st_mtime_ns,
            )
            assert len(listed(server)) == 1
            with server.client() as api:
                assert api.get("/v1/whoami").json() == me
    finally:
        os.umask(before)


def test_a_store_that_has_keys_already_gets_none_at_the_first_start(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.api_key = made_key(server, "read", project="mine").secret
    with server:
        assert not (tmp_path / "tunelog.db.key").exists()
        advice = "`tunelog keys create` makes a key for those who have none."
        assert server.printed[1:] == [advice]
        with server.client() as api:
            assert api.get("/v1/whoami").json()["project_name"] == "mine"
