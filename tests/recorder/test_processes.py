"""Forks and threads of the training."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from tests.recorder.recorded import Init, ends, snapshots
from tests.recording import environment, only_spool, records, train, training
from tunelog.recorder.spool import writer_lives


def test_a_forked_child_writes_nothing_and_takes_nothing_away(spool: Path) -> None:
    script = """
import multiprocessing, os, tunelog

def load(job):
    job.log({"loss": 2.0}, step=2)
    tunelog.log({"loss": 2.0}, step=2)
    job.event("from the child")
    job.checkpoint("out", step=2)
    job.finish("error")

job = tunelog.init("m")
worker = multiprocessing.get_context("fork").Process(target=load, args=(job,))
worker.start(); worker.join()
pid = os.fork()
if pid == 0:
    job.log({"loss": 3.0}, step=3)
    raise SystemExit  # runs what runs at exit
os.waitpid(pid, 0)
job.log({"loss": 1.0}, step=1)
job.finish()
"""
    done = train(script, environment(spool))
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert done.stderr.count("was forked from the one that records") == 2
    kinds = [record["record"] for record in records(only_spool(spool))]
    assert kinds == ["job", "attempt", "snapshot", "finish"]
    assert [s["step"] for s in snapshots(spool)] == [1]


def test_a_spool_is_free_when_its_trainer_was_killed_though_its_workers_live(spool: Path) -> None:
    script = """
import os, time, tunelog
job = tunelog.init("m")
if os.fork() == 0:
    print(os.getpid(), flush=True)  # not the parent: it may say so before the child has run at all
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""
    with training(script, environment(spool)) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        path = str(only_spool(spool))
        assert writer_lives(path)
        process.kill()
        process.wait(30)
        try:
            assert writer_lives(path) is False
        finally:
            os.kill(worker, signal.SIGKILL)


def test_threads_may_log_while_another_finishes(init: Init, spool: Path) -> None:
    job = init()
    ready = threading.Barrier(5)

    def log(thread: int) -> None:
        ready.wait()
        for step in range(500):
            job.log({"loss": 1.0, f"of_{thread}": step}, step)

    threads = [threading.Thread(target=log, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    job.finish()
    for thread in threads:
        thread.join()
    seqs = [s["seq"] for s in snapshots(spool)]
    assert len(set(seqs)) == len(seqs)
    assert ends(spool) == ["completed"]
