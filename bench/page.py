"""The page: Debian's Chromium on a real service; what somebody who looks at it waits for."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.clients import Connection, post
from bench.data import BATCH, DETAILS, LARGE, train_snapshots
from bench.figures import Figure, Section, figure
from bench.goals import Goal
from bench.machine import Load, machine
from bench.processes import ServerProcess, tunelog_server
from tunelog.backends.sqlite import SqliteBackend
from tunelog.model import Batch, JobDetails
from tunelog.store import Store
from tunelog.wire.snapshots import encode_batch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request

JOBS = 10_000
MANY = [f"ft-bench-{number:02}" for number in range(50)]
LIVE = "ft-bench-live"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
_SAMPLES = 7
_LIVE_SECONDS = 6.0
_UPDATES_A_SECOND = 100
_PATIENCE = 120_000

_WATCH = """
(() => {
  const wanted = new Set(new URLSearchParams(location.search).getAll('job')).size;
  const lines = () => document.querySelector('.chart')?.chart.lines.filter((l) => l.length) ?? [];
  const listed = () => document.querySelector('.jobs .trend path');
  const drawn = () => lines().length >= wanted && document.querySelector('.chart canvas');
  const look = () => {
    if (wanted === 0 ? listed() : drawn())
      window.drawnAt = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""
"""Notes when the first chart has a line of each job, or the list a curve: ms since navigation."""

_SEARCH = """
words => new Promise((done) => {
  const begun = performance.now();
  const look = () => document.querySelector('.tally').textContent.includes('found')
    ? done((performance.now() - begun) / 1000) : requestAnimationFrame(look);
  const box = document.querySelector('input[type=search]');
  box.value = words;
  box.dispatchEvent(new Event('input'));
  look();
})
"""

_FRAMES = """
seconds => new Promise((done) => {
  const gaps = []; let last = performance.now(); const end = last + seconds * 1000;
  const frame = (now) => { gaps.push(now - last); last = now;
    if (now < end) requestAnimationFrame(frame); else done(gaps.slice(1)); };
  requestAnimationFrame((now) => { last = now; requestAnimationFrame(frame); });
})
"""

_WEIGHT = """
performance.getEntries().filter((e) => ['navigation', 'resource'].includes(e.entryType))
  .filter((e) => !new URL(e.name).pathname.startsWith('/v1/'))
  .reduce((sum, e) => sum + e.transferSize, 0)
"""

_SENT = """
performance.getEntries().filter((e) => ['navigation', 'resource'].includes(e.entryType))
  .filter((e) => e.entryType === 'navigation' || new URL(e.name).pathname.startsWith('/v1/'))
  .reduce((sum, e) => sum + e.transferSize, 0)
"""
"""Of data: answers of the API, and the page that holds the first."""


def measure(folder: Path, snapshots: int) -> Section:
    """Every figure of the page, over a store made for it."""
    from playwright.sync_api import sync_playwright

    path = folder / "page.db"
    key = _store(path, snapshots)
    load = Load()
    with tunelog_server(path) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(ARGUMENTS)
        )
        figures = list(_figures(browser, server, key, snapshots))
        browser.close()
    title = f"Page: Chromium over loopback, a job of {snapshots:,} train snapshots"
    return Section(title, figures, machine(), load.so_far())


def _store(path: Path, snapshots: int) -> str:
    """The large job, fifty of a tenth of its length, and one that is empty; answers a key."""
    backend = SqliteBackend(path)
    project = backend.create_project("default")
    _, key = backend.create_key(project, ["admin"])
    store = backend.store(project)
    sizes = {LARGE: snapshots, **dict.fromkeys(MANY, snapshots // 10), LIVE: BATCH}
    for rank, (job, size) in enumerate(sizes.items()):
        store.create_job(DETAILS, job)
        for first in range(0, size, 5 * BATCH):
            count = min(5 * BATCH, size - first)
            store.append(job, Batch(snapshots=train_snapshots(first, count, rank), first_seq=first))
    _crowd(store)
    backend.close()
    return key


def _crowd(store: Store) -> None:
    """Ten thousand jobs with a curve each."""

    def record(number: int) -> None:
        details = JobDetails(model=DETAILS.model, name=f"job {number}")
        job = store.create_job(details).id
        store.append(job, Batch(snapshots=train_snapshots(0, 20), first_seq=0))

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(record, range(JOBS)))


def _figures(browser: Browser, server: ServerProcess, key: str, snapshots: int) -> Iterator[Figure]:
    first, weights, hosts = [], [], 0
    for _ in range(_SAMPLES):
        with _signed_in(browser, server, key) as context:
            page = context.new_page()
            asked: list[Request] = []
            page.on("request", _noting(asked))
            first.append(_drawn(page, f"/?job={LARGE}"))
            weights.append(page.evaluate(_WEIGHT))
            hosts += sum(
                not one.url.startswith(f"http://127.0.0.1:{server.port}/") for one in asked
            )
            page.goto("about:blank")
    yield figure(
        f"first chart of {snapshots:,} steps after navigation",
        "s",
        first,
        goals=[Goal("≤", 0.3)],
        note="an empty cache each time, the service at rest before",
    )
    yield figure(
        "page as sent, other data excluded",
        "B",
        weights,
        goals=[Goal("≤", 150e3)],
        note=f"the draft within it counted; {hosts} requests to other hosts",
    )
    yield from _listed(browser, server, key)
    yield from _overlaid(browser, server, key, snapshots // 10)
    yield from _live(browser, server, key)


def _noting(asked: list[Request]) -> Callable[[Request], None]:
    return lambda request: asked.append(request)


def _listed(browser: Browser, server: ServerProcess, key: str) -> Iterator[Figure]:
    listed, found = [], []
    for _ in range(_SAMPLES):
        with _signed_in(browser, server, key) as context:
            page = context.new_page()
            listed.append(_drawn(page, "/"))
            found.append(page.evaluate(_SEARCH, "job 777"))
            page.goto("about:blank")
    yield figure(f"list of {JOBS:,} jobs after navigation", "s", listed)
    yield figure(f"search in {JOBS:,} jobs", "s", found, note="180 ms of it wait for the next key")


def _overlaid(browser: Browser, server: ServerProcess, key: str, steps: int) -> Iterator[Figure]:
    seconds, sent = [], []
    for last in (False, False, True):
        with _signed_in(browser, server, key) as context:
            page = context.new_page()
            seconds.append(_drawn(page, "/?" + "&".join(f"job={job}" for job in MANY)))
            if last:  # with what each chart in sight then asks for itself
                page.locator('.chart[data-sampling="minmax"]').first.wait_for()
                page.locator('.chart[aria-busy="true"]').first.wait_for(state="detached")
                sent.append(page.evaluate(_SENT))
            page.goto("about:blank")
    name = f"{len(MANY)} jobs of {steps:,} steps overlaid"
    yield figure(name, "s", seconds, goals=[Goal("≤", 1.0)])
    note = "with every chart in sight at full budget"
    yield figure(f"{name}: bytes on the wire", "B", sent, goals=[Goal("≤", 2e6)], note=note)


def _live(browser: Browser, server: ServerProcess, key: str) -> Iterator[Figure]:
    with _signed_in(browser, server, key) as context:
        page = context.new_page()
        _drawn(page, f"/?job={LIVE}")
        page.locator('.board[data-live="live"]').wait_for()
        with _updates(server, key) as sent:
            gaps: list[float] = page.evaluate(_FRAMES, _LIVE_SECONDS)
        page.goto("about:blank")
    rate = len(sent) / _LIVE_SECONDS
    yield figure(
        f"frames at {rate:.0f} live updates a second",
        "s",
        [gap / 1000 for gap in gaps],
        note=f"the longest is to be at most 50 ms: {max(gaps):.0f} ms",
    )


@contextlib.contextmanager
def _updates(server: ServerProcess, key: str) -> Iterator[list[int]]:
    """Post snapshots one by one, so many a second, for the time of the block."""
    over = threading.Event()
    sent: list[int] = []

    def work() -> None:
        begun = time.perf_counter()
        with Connection(server.port, keep=True) as connection:
            while not over.is_set():
                step = BATCH + len(sent)
                batch = Batch(snapshots=train_snapshots(step, 1), attempt=1, first_seq=step)
                answer = connection.ask(
                    post(f"/v1/fine-tunes/{LIVE}/metrics", key, encode_batch(batch))
                )
                assert answer.status == 200
                sent.append(step)
                due = begun + len(sent) / _UPDATES_A_SECOND
                time.sleep(max(0.0, due - time.perf_counter()))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield sent
    over.set()
    thread.join()


@contextlib.contextmanager
def _signed_in(browser: Browser, server: ServerProcess, key: str) -> Iterator[BrowserContext]:
    """A browser with nothing in its cache, and a session."""
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{server.port}", viewport={"width": 1440, "height": 900}
    )
    context.set_default_timeout(_PATIENCE)
    context.add_init_script(_WATCH)
    answer = context.request.post("/session", data={"api_key": key})
    assert answer.status == 204
    _settle(server)
    yield context
    context.close()


def _settle(server: ServerProcess) -> None:
    """Wait until the server has nothing to do for those who have left."""
    before, now = -1.0, server.cpu_seconds()
    while now - before > 0.02:
        time.sleep(0.25)
        before, now = now, server.cpu_seconds()


def _drawn(page: Page, address: str) -> float:
    """Seconds from navigation to the first chart."""
    page.goto(address, wait_until="commit")
    begun = time.perf_counter()
    at: Any = None
    while at is None and time.perf_counter() - begun < _PATIENCE / 1000:
        at = page.evaluate("window.drawnAt ?? null")
        time.sleep(0.01)
    return float(at) / 1000
