"""The page of jobs comes with the answer to what it would ask first."""

from __future__ import annotations

import html
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette

from tests.serving import PATIENCE, Server, create_job
from tunelog.server import pages
from tunelog.server.sessions import COOKIE

ELEMENT = re.compile(
    r'<script type="application/json" id="draft" data-question="([^"]*)">(.*?)</script>', re.DOTALL
)


@pytest.fixture(scope="module")
def browser(server: Server) -> Iterator[httpx2.Client]:
    """A client with a session, and no key."""
    with httpx2.Client(base_url=server.url, timeout=PATIENCE) as client:
        assert client.post("/session", json={"api_key": server.api_key}).status_code == 204
        yield client


@pytest.fixture(scope="module")
def jobs(server: Server) -> list[str]:
    """Two jobs of more rows than a draft has; one has a metric whose name looks like an end."""
    found = []
    with server.client() as api:
        for name in ("train/loss", "train/</script><b>"):
            job = create_job(api).id
            rows = [{"train/global_step": step, name: step / 7} for step in range(300)]
            api.post(f"/v1/fine-tunes/{job}/metrics", json={"metrics": rows}).raise_for_status()
            found.append(job)
    return found


def draft(answer: httpx2.Response) -> tuple[dict[str, Any], str] | None:
    """The question that a page holds, and the text of its answer; None if it holds none."""
    assert answer.status_code == 200
    assert answer.text.endswith("</html>\n")
    found = ELEMENT.search(answer.text)
    return None if found is None else (json.loads(html.unescape(found[1])), found[2])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_it_is_the_answer_of_the_api(
    browser: httpx2.Client, jobs: list[str], count: int, encoding: str
) -> None:
    asked = jobs[:count]
    address = "/?" + "&".join(f"job={job}" for job in [*asked, "", asked[0]])
    answer = browser.get(address, headers={"Accept-Encoding": encoding})
    assert answer.headers.get("content-encoding", "identity") == encoding
    found = draft(answer)
    assert found is not None
    question, text = found
    assert question == {"nonfinite": "string", "jobs": asked, "resolution": 200}
    same_origin = {"Sec-Fetch-Site": "same-origin"}
    told = browser.post("/v1/metrics/query", json=question, headers=same_origin).json()
    assert json.loads(text) == told
    assert [told["jobs"][job]["returned"] for job in asked] == [200] * count


def test_nothing_else_of_the_page_is_changed_and_it_is_not_kept(
    browser: httpx2.Client, jobs: list[str]
) -> None:
    plain, drafted = browser.get("/"), browser.get(f"/?job={jobs[0]}")
    assert ELEMENT.sub("", drafted.text).replace("\n\n", "\n") == plain.text
    assert drafted.headers["cache-control"] == "no-store"
    assert "etag" not in drafted.headers
    policy = "content-security-policy"
    assert drafted.headers[policy] == plain.headers[policy]


def test_what_many_jobs_bring_is_some_thousand_rows_in_all(
    browser: httpx2.Client, jobs: list[str]
) -> None:
    unknown = [f"ft-unknown-{number}" for number in range(29)]
    found = draft(browser.get("/?" + "&".join(f"job={job}" for job in [jobs[0], *unknown])))
    assert found is not None
    question, text = found
    assert question["resolution"] == 80
    answers = json.loads(text)["jobs"]
    assert answers[jobs[0]]["returned"] == 80
    assert all("error" in answers[job] for job in unknown)


def test_a_page_without_jobs_or_without_a_session_comes_without(
    browser: httpx2.Client, server: Server, jobs: list[str]
) -> None:
    assert draft(browser.get("/?search=x&job=")) is None
    with httpx2.Client(base_url=server.url, timeout=PATIENCE) as stranger:
        answer = stranger.get(f"/?job={jobs[0]}")
        assert draft(answer) is None
        assert answer.headers["cache-control"] == "no-cache"
    head = browser.head(f"/?job={jobs[0]}")
    assert (head.status_code, head.content) == (200, b"")


def test_who_may_not_read_gets_the_page_with_an_empty_answer(
    server: Server, jobs: list[str]
) -> None:
    for session in ("key-none.9999999999.x", "nonsense"):
        with httpx2.Client(base_url=server.url, timeout=PATIENCE) as client:
            answer = client.get(f"/?job={jobs[0]}", headers={"Cookie": f"{COOKIE}={session}"})
        found = draft(answer)
        assert found is not None
        assert found[1] == ""


def test_more_jobs_than_a_query_takes_are_no_draft(browser: httpx2.Client) -> None:
    found = draft(browser.get("/?" + "&".join(f"job=ft-{number}" for number in range(1_001))))
    assert found is not None
    assert found[1] == ""


def test_what_loads_the_page_is_sent_before_the_draft_is_made(tmp_path: Path) -> None:
    """A browser has the scripts while the store is read."""
    (tmp_path / "index.html").write_text('<script src="/page/x.js"></script><body></body>')
    read = threading.Event()

    def slow(_: object) -> Iterator[bytes]:
        assert read.wait(PATIENCE)
        yield b"<i>draft</i>"

    app = Starlette(routes=pages.page_routes(tmp_path, slow))
    config = uvicorn.Config(app, port=0, log_config=None)
    server = uvicorn.Server(config)
    with config.bind_socket() as listener:
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        for encoding in ("identity", "gzip"):
            read.clear()
            headers = {"Accept-Encoding": encoding}
            with httpx2.stream("GET", url, headers=headers, timeout=PATIENCE) as answer:
                chunks = answer.iter_bytes()
                assert next(chunks) == b'<script src="/page/x.js"></script><body>'
                read.set()
                assert b"".join(chunks) == b"<i>draft</i></body>"
        server.should_exit = True
        thread.join(PATIENCE)
