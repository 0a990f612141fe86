"""`tunelog shares`: links made, listed and revoked on the command line."""

from __future__ import annotations

import json
import re

import httpx2
import pytest

from tests.commands import OK, REFUSED, WRONG_USAGE, in_terminal, out, run, uncoloured
from tests.serving import Server, create_job


def test_a_link_is_printed_alone_and_opens_its_job(server: Server, api: httpx2.Client) -> None:
    job, other = create_job(api).id, create_job(api).id
    done = run(server, "shares", "create", job, "--for", "12h", "--name", "review")
    assert done.returncode == OK
    link = re.fullmatch(rf"{re.escape(server.url)}/#share=(tls-[\w-]{{43}})\n", done.stdout)
    assert link, done.stdout
    said = re.fullmatch(r"share (sh-[0-9a-f-]{36}) until \d{4}-\d\d-\d\dT\d\d:\d\dZ\n", done.stderr)
    assert said, done.stderr
    headers = {"Authorization": f"Bearer {link[1]}"}
    assert httpx2.get(f"{server.url}/v1/fine-tunes/{job}", headers=headers).status_code == 200
    assert httpx2.get(f"{server.url}/v1/fine-tunes/{other}", headers=headers).status_code == 404
    done = run(server, "shares", "revoke", said[1])
    assert (done.returncode, done.stdout, done.stderr) == (OK, "", f"{said[1]} is revoked\n")
    assert httpx2.get(f"{server.url}/v1/whoami", headers=headers).status_code == 401


def test_json_is_what_the_api_answers(server: Server, api: httpx2.Client) -> None:
    jobs = [create_job(api).id for _ in range(2)]
    made = json.loads(
        out(server, "shares", "create", *jobs, "--json", "--url", f"{server.url}/v1/")
    )
    assert (made["jobs"], made["name"]) == (jobs, None)
    assert made["url"] == f"{server.url}/#share={made['token']}"
    assert out(server, "shares", "list", "--json") == api.get("/v1/shares").text
    revoked = json.loads(out(server, "shares", "revoke", made["id"], "--json"))
    assert revoked == api.get("/v1/shares").json()["data"][0]


def test_links_are_listed_without_their_tokens(server: Server, api: httpx2.Client) -> None:
    job = create_job(api).id
    made = api.post("/v1/shares", json={"jobs": [job], "name": "\x1b[31mred"}).json()
    api.delete(f"/v1/shares/{made['id']}")
    listed = out(server, "shares", "list")
    (line,) = [line for line in listed.splitlines() if made["id"] in line]
    expires = made["expires_at"][:19]
    assert line.split()[:4] == [made["id"], "�[31mred", job, expires]
    assert re.search(r"\d\d:\d\d:\d\d$", line.strip())
    assert made["token"] not in listed
    code, shown = in_terminal(server, 40, "shares", "list")
    assert code == OK
    assert max(map(len, uncoloured(shown))) <= 40


def test_a_project_without_links_says_so(fresh_server: Server) -> None:
    assert out(fresh_server, "shares", "list") == "no share links\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("create", "ft-nobody"), REFUSED, "no job ft-nobody"),
        (("create", "ft-a", "--for", "soon"), WRONG_USAGE, "such as 12h or 7d is wanted"),
        (("create", "ft-a", "--for", "-1d"), WRONG_USAGE, "such as 12h or 7d is wanted"),
        (("create", "ft-a", "--for", "0d"), REFUSED, "expires_in: a whole number from 1"),
        (("create", "ft-a", "--for", "400d"), REFUSED, "expires_in: a whole number from 1"),
        (("create",), WRONG_USAGE, "Missing argument"),
        (("revoke", "sh-nobody"), REFUSED, "no share sh-nobody"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_code(
    server: Server, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run(server, "shares", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("tunelog: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
