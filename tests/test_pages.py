"""The page's files: what is sent of them, how, and nothing else."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette

from tests.exchanges import exchange, refused
from tests.serving import PATIENCE, Server
from tunelog.server import pages
from tunelog.server.paths import CanonicalPaths

SCRIPT = "export const answer = 42;\n" * 100
INDEX = (
    '<!doctype html><title>tunelog</title><script src="/page/app.js"></script><a href="/page/no">'
)
FILES = {
    "index.html": INDEX,
    "style.css": "body { margin: 0 }\n" * 100,
    "app.js": SCRIPT,
    "vendor/plot/plot.js": SCRIPT[:52],
    "vendor/plot/LICENSE": "MIT",
    ".hidden": "secret",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of these files, beside which lies one that is none of them."""
    folder = tmp_path_factory.mktemp("site") / "page"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder.parent / "outside.txt").write_text("secret")
    app = Starlette(routes=pages.page_routes(folder))
    app.router.redirect_slashes = False
    config = uvicorn.Config(CanonicalPaths(app), port=0, log_config=None)
    server = uvicorn.Server(config)
    with config.bind_socket() as listener:
        listener.listen()  # so that whoever comes before the server waits
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(PATIENCE)


def get(url: str, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.get(url, headers={"Accept-Encoding": "identity", **named}, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("path", "name", "media_type"),
    [
        ("/page/style.css", "style.css", "text/css; charset=utf-8"),
        ("/page/app.js", "app.js", "text/javascript; charset=utf-8"),
        ("/page/vendor/plot/plot.js", "vendor/plot/plot.js", "text/javascript; charset=utf-8"),
        ("/page/vendor/plot/LICENSE", "vendor/plot/LICENSE", "application/octet-stream"),
    ],
)
def test_a_file_is_sent_as_what_it_is(site: str, path: str, name: str, media_type: str) -> None:
    answer = get(site + path)
    assert (answer.status_code, answer.text) == (200, FILES[name])
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    policy = dict(
        rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "font-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    head = httpx2.head(site + path, headers={"Accept-Encoding": "identity"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(answer.content))


def test_the_index_asks_for_files_by_their_content_and_those_are_kept_for_good(site: str) -> None:
    index = get(f"{site}/?job=ft-a&job=ft-b")
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    assert index.headers["cache-control"] == "no-cache"
    (address,) = re.findall(r'src="(/page/app\.js\?v=[0-9a-f]{16})"', index.text)
    assert index.text.replace(address, "/page/app.js") == INDEX
    answer = get(site + address)
    assert (answer.status_code, answer.text) == (200, SCRIPT)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    for other in ("?v=0123456789abcdef", "?v=", f"{address[12:]}&v=1"):
        answer = get(f"{site}/page/app.js{other}")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


def test_a_file_is_compressed_where_it_helps(site: str) -> None:
    packed = get(f"{site}/page/app.js", Accept_Encoding="gzip, br")
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(gzip.compress(SCRIPT.encode(), 9))
    assert packed.text == SCRIPT
    plain = get(f"{site}/page/app.js")
    assert "content-encoding" not in plain.headers
    assert plain.headers["etag"] != packed.headers["etag"]
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    small = get(f"{site}/page/vendor/plot/LICENSE", Accept_Encoding="gzip")
    assert "content-encoding" not in small.headers


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_what_a_browser_has_already_is_not_sent_again(site: str, encoding: str) -> None:
    url = f"{site}/page/app.js"
    tag = get(url, Accept_Encoding=encoding).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = get(url, Accept_Encoding=encoding, If_None_Match=known)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
        assert "content-encoding" not in answer.headers
    for other in ('"other"', tag.strip('"'), ""):
        answer = get(url, Accept_Encoding=encoding, If_None_Match=other)
        assert (answer.status_code, answer.text) == (200, SCRIPT)


@pytest.mark.parametrize(
    "path",
    [
        *("..", "../outside.txt", "..%2foutside.txt", "%2e%2e/outside.txt", "vendor/../app.js"),
        *("//etc/passwd", "%2fetc%2fpasswd", "/../../outside.txt", "vendor%2fplot%2fplot.js"),
        *("..%5coutside.txt", "app.js%00", "app.js/x", "./app.js", ".hidden", "vendor", "", "."),
        *("App.js", "app", "%ff", "..%c0%afoutside.txt"),
    ],
)
def test_no_path_leads_elsewhere(server: Server, site: str, path: str) -> None:
    for url in (site, server.url):
        other = Server(Path())
        other.url = url
        asked = f"GET /page/{path} HTTP/1.1\r\nHost: tunelog\r\nConnection: close\r\n\r\n"
        answer = exchange(other, asked.encode())
        assert (answer.status_code, b"secret" in answer.content) == (404, False)


def test_the_service_serves_the_files_of_its_package(server: Server) -> None:
    for name, file in pages.files(pages.FOLDER).items():
        answer = get(f"{server.url}/page/{name}")
        assert (answer.status_code, answer.content) == (200, file.plain), name
        if name == pages.INDEX:
            assert get(server.url).content == file.plain
    refused(httpx2.post(server.url), 405, "/ does not take POST")
    missing, words = get(f"{server.url}/page/nothing.js"), "there is no /page/nothing.js"
    refused(missing, 404, words, kind="invalid_request_error")
