"""`tunelog move`: everything of a store into another, while a service uses the first."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.commands import OK, REFUSED, WRONG_USAGE, in_terminal, run, uncoloured
from tests.serving import COMMAND, PATIENCE, Server, create_job, record_job
from tunelog.backends import open_backend
from tunelog.backends.sqlite import SqliteBackend
from tunelog.model import Batch, JobDetails, Snapshot

NEXT = "To switch: stop the service on FROM, run this once more, and start the service on TO."


@pytest.fixture
def target(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'target.db'}"


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on standard error of a command that was refused; of such, there is one."""
    assert (done.returncode, done.stdout) == (REFUSED, "")
    return [line.removeprefix("tunelog: ") for line in done.stderr.splitlines()]


def answers(api: httpx2.Client) -> dict[str, Any]:
    """What a service says of every job, byte for byte, and of those who may see it."""
    jobs = [job["id"] for job in api.get("/v1/fine-tunes").json()["data"]]
    below = ("", "/events", "/checkpoints", "/metrics?attempt=all", "/metrics/summary")
    paths = [f"/v1/fine-tunes/{job}{part}" for job in jobs for part in below]
    readings = [api.get(path) for path in ("/v1/fine-tunes", "/v1/whoami", "/v1/shares", *paths)]
    return {
        str(r.url): (r.status_code, r.content, r.headers.get("Tunelog-Cursor")) for r in readings
    }


def long_job(store: str, snapshots: int) -> None:
    with closing(open_backend(store)) as backend:
        jobs = backend.store(backend.create_project("default"))
        jobs.create_job(JobDetails(model="m"), "ft-long")
        losses = [{"train/loss": 1 / (n + 1)} for n in range(snapshots)]
        logged = [Snapshot("train", n, n * 1000, values) for n, values in enumerate(losses)]
        jobs.append("ft-long", Batch(snapshots=logged, first_seq=0))


def test_a_service_goes_on_where_it_was_on_another_store(fresh_server: Server, target: str) -> None:
    server = fresh_server
    with server.client() as api:
        first = record_job(api).id
        running = create_job(api).id
        link = api.post("/v1/shares", json={"jobs": [first], "name": "review"}).json()
        row = {"timestamp": 1, "train/global_step": 1, "train/loss": 0.5}
        posted = {"metrics": [row], "first_seq": 0}
        api.post(f"/v1/fine-tunes/{running}/metrics", json=posted)

        done = run(server, "move", server.store, target)
        assert done.returncode == OK, done.stderr
        assert done.stderr.splitlines()[-2:] == ["2 jobs compared: the same on both sides", NEXT]
        table = [line.split() for line in done.stdout.splitlines()]
        assert table[0] == ["PROJECT", "JOB", "SNAPSHOTS", "CHECKSUM"]
        assert [line[:3] for line in table[1:]] == [
            ["default", first, "44"],
            ["default", running, "1"],
        ]

        api.post(f"/v1/fine-tunes/{running}/metrics", json={"metrics": [row], "first_seq": 1})
        expected = answers(api)
    server.stop()
    done = run(server, "move", server.store, target)
    assert (done.returncode, done.stderr.splitlines()[0]) == (OK, "pass 1: 1 snapshots")
    assert [line.split()[1:3] for line in done.stdout.splitlines()[1:]] == [[running, "1"]]

    server.store = target
    server.start()
    with server.client() as api:
        assert answers(api) == expected
        receipt = api.post(f"/v1/fine-tunes/{running}/metrics", json=posted).json()
        assert (receipt["stored"], receipt["duplicates"]) == (0, 1)
    visitor = {"Authorization": f"Bearer {link['token']}"}
    assert httpx2.get(f"{server.url}/v1/fine-tunes/{first}", headers=visitor).status_code == 200


def test_nothing_is_moved_into_a_store_that_was_served(fresh_server: Server, target: str) -> None:
    server, source = fresh_server, fresh_server.store
    assert run(server, "move", source, target).returncode == OK
    server.stop()
    server.store = target
    server.start()
    in_use = f"{target.removeprefix('sqlite:///')}: another `tunelog serve` or `tunelog move`"
    assert said(run(server, "move", source, target)) == [f"{in_use} has this store open"]
    with server.client() as api:
        made = create_job(api).id
    server.stop()
    (line,) = said(run(server, "move", source, target))
    assert line.startswith("the store to move into is in use: ")
    server.start()
    with server.client() as api:
        assert [job["id"] for job in api.get("/v1/fine-tunes").json()["data"]] == [made]


def test_a_move_that_was_killed_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    source, target = (f"sqlite:///{tmp_path / name}.db" for name in ("source", "target"))
    long_job(source, 60_000)
    process = subprocess.Popen(
        [*COMMAND, "move", source, target], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    some = wait_for_some(tmp_path / "target.db", process)
    process.kill()
    process.communicate(timeout=PATIENCE)
    done = run(server, "move", source, target)
    assert done.returncode == OK, done.stderr
    taken = int(re.match(r"pass 1: (\d+) snapshots", done.stderr)[1])  # type: ignore[index]
    assert 0 < taken <= 60_000 - some
    assert run(server, "move", "--verify", source, target).stdout.split()[4:7] == [
        "default",
        "ft-long",
        "60000",
    ]


def wait_for_some(target: Path, process: subprocess.Popen[bytes]) -> int:
    """How many snapshots have arrived, as soon as there are some; the command goes on meanwhile."""
    while not target.exists():
        assert process.poll() is None
    with closing(SqliteBackend(target)) as backend:
        while process.poll() is None:
            for project in backend.projects():
                for job in backend.store(project).jobs():
                    if some := len(backend.store(project).stored(job.id)):
                        return some
    raise AssertionError("it was over before it began")


def test_to_verify_names_what_differs(server: Server, tmp_path: Path) -> None:
    source, target = (f"sqlite:///{tmp_path / name}.db" for name in ("source", "target"))
    long_job(source, 10)
    (missing,) = said(run(server, "move", "--verify", source, target))
    assert missing == f"{tmp_path / 'target.db'}: there is no store"
    moved = run(server, "move", source, target)
    same = run(server, "move", "--verify", source, target)
    assert (same.returncode, same.stdout) == (OK, moved.stdout)
    assert same.stderr == "1 jobs compared: the same on both sides\n"
    with closing(open_backend(source)) as backend:
        project = backend.create_project("default")
        backend.create_key(project, ["read"])
        backend.store(project).append("ft-long", Batch(snapshots=[Snapshot("train", 1, 1, {})]))
    done = run(server, "move", "--verify", source, target)
    assert (done.returncode, done.stderr.splitlines()) == (
        REFUSED,
        [
            "tunelog: the projects, keys or share links differ",
            "tunelog: ft-long of project default differs: 11 snapshots in FROM, 10 in TO",
        ],
    )


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("memory:", "sqlite:///{folder}/new.db", "memory: is gone when this command ends"),
        ("sqlite:///{folder}/a.db", "memory:", "memory: is gone when this command ends"),
        ("sqlite:///{folder}/none.db", "sqlite:///{folder}/new.db", "there is no store"),
        ("sqlite:///{folder}/a.db", "sqlite:///{folder}/a.db", "FROM and TO are the same store"),
        ("sqlite:///{folder}/a.db", "sqlite:///{folder}/link.db", "FROM and TO are the same store"),
        ("sqlite:///{folder}/a.db", "mysql://h/d", "store 'mysql://h/d': none of memory:, sqlite:"),
        ("sqlite:///{folder}/a.db", "sqlite:///{folder}/no/new.db", "there is no folder"),
        (
            "sqlite:///{folder}/a.db",
            "sqlite:///{folder}/own.db",
            "the store to move into is in use",
        ),
    ],
)
def test_what_cannot_be_moved_is_one_line_and_leaves_no_file(
    server: Server, tmp_path: Path, source: str, target: str, message: str
) -> None:
    long_job(f"sqlite:///{tmp_path / 'a.db'}", 1)
    long_job(f"sqlite:///{tmp_path / 'own.db'}", 1)
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    urls = [url.format(folder=tmp_path) for url in (source, target)]
    (line,) = said(run(server, "move", *urls))
    assert message in line
    assert not (tmp_path / "new.db").exists()


def test_to_follow_and_to_verify_exclude_one_another(server: Server) -> None:
    done = run(server, "move", "--follow", "--verify", "sqlite:///a.db", "sqlite:///b.db")
    assert (done.returncode, done.stdout) == (WRONG_USAGE, "")


@pytest.fixture
def following(fresh_server: Server, target: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "move", "--follow", fresh_server.store, target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_to_follow_takes_what_comes_until_it_is_stopped(
    number: signal.Signals, fresh_server: Server, following: subprocess.Popen[str]
) -> None:
    assert following.stderr is not None
    with fresh_server.client() as api:
        for snapshots in (44, 45):
            job = record_job(api, [{"train/global_step": n} for n in range(snapshots)]).id
            taken = 0
            while taken < snapshots:  # a pass may come in the middle of what is recorded
                taken += int(following.stderr.readline().split()[2])
    following.send_signal(number)
    out, rest = following.communicate(timeout=PATIENCE)
    assert (following.returncode, rest.splitlines()[-1]) == (OK, NEXT)
    assert [line.split()[1:3] for line in out.splitlines()[-1:]] == [[job, "45"]]


def test_it_fits_into_a_narrow_terminal(fresh_server: Server, target: str) -> None:
    with fresh_server.client() as api:
        record_job(api)
    code, shown = in_terminal(fresh_server, 40, "move", fresh_server.store, target)
    assert code == OK
    table = uncoloured(shown)[1:-2]
    assert max(map(len, table)) <= 40
