"""What happens in the drills. Each trains from begin to end, and then has everything sent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.disks import fill, mounted
from tests.drills.drill import STEPS, Drill, Told
from tests.drills.front import Front
from tests.recording import senders, until
from tests.serving import Server

OUTAGE = 20.0
PAUSE = 0.04
"""Seconds after each step of a training that is to last longer than the outage."""


@dataclass(frozen=True)
class Done:
    """A drill that is over: everything is sent.

    Attributes:
        drill: what has arrived, and what the training said on standard error.
        told: what the training told; None if it was killed.
    """

    drill: Drill
    told: Told | None


Scenario = Callable[[Server, Path], Done]
"""Takes a service that stays as it is, and an empty folder."""


def _drill(server: Server, folder: Path) -> Drill:
    return Drill(server, folder, folder / "spool")


@contextmanager
def _own_server(folder: Path) -> Iterator[Server]:
    (folder / "server").mkdir()
    with Server(folder / "server") as server:
        yield server


def _sent(drill: Drill, told: Told | None) -> Done:
    drill.sync()
    return Done(drill, told)


# ---------------------------------------------------------------- the service is not there


def fine(server: Server, folder: Path) -> Done:
    """Nothing happens."""
    drill = _drill(server, folder)
    with drill.training():
        drill.phase()
        told = drill.end()
    return _sent(drill, told)


def absent_at_start(server: Server, folder: Path) -> Done:
    """The service is started when the training has ended."""
    drill = _drill(server, folder)
    with Front(server.url) as front:
        away = front.url
    with drill.training(away):  # nobody listens there any more
        drill.phase()
        told = drill.end()
    return _sent(drill, told)


def killed_and_back(folder: Path) -> Iterator[Done]:
    """The service is killed in the second phase and started again in the third.

    Yields while the service is there.
    """
    with _own_server(folder) as server:
        drill = _drill(server, folder)
        with drill.training():
            drill.next_phase()
            until(lambda: drill.logged() > STEPS * 1.2, "some steps")
            server.kill()
            drill.phase_ends()
            drill.next_phase()
            server.start()
            told = drill.end()
        yield _sent(drill, told)


def killed_and_back_after_20_seconds(folder: Path) -> Iterator[Done]:
    """The same by the clock, while the training goes on at the pace of a larger model."""
    with _own_server(folder) as server:
        drill = _drill(server, folder)
        with drill.training(pause=PAUSE):
            server.kill()
            time.sleep(OUTAGE)
            still_trains = drill.process.poll() is None
            server.start()
            told = drill.end()
        assert still_trains, "the outage outlasted the training"
        yield _sent(drill, told)


def killed_for_good(folder: Path) -> Iterator[Done]:
    """The service is killed in the second phase; much later another has its store."""
    with _own_server(folder) as server:
        drill = _drill(server, folder)
        with drill.training():
            drill.next_phase()
            until(lambda: drill.logged() > STEPS * 1.2, "some steps")
            server.kill()
            drill.phase_ends()
            told = drill.end()
        until(lambda: not senders(drill.spool), "the sender to give up")
        assert drill.spools()
        server.url = ""  # another port
        server.start()
        yield _sent(drill, told)


# ---------------------------------------------------------------- the service does not do its work


def answering(status: int) -> Scenario:
    """From the begin on, everything is answered with a status."""

    def scenario(server: Server, folder: Path) -> Done:
        drill = _drill(server, folder)
        with Front(server.url) as front:
            front.answers = status
            with drill.training(front.url):
                drill.phase()
                told = drill.end()
            front.recover()
            assert front.did[status]
            return _sent(drill, told)

    return scenario


def turning_to(status: int) -> Scenario:
    """Everything is answered with a status from the second phase to the end."""

    def scenario(server: Server, folder: Path) -> Done:
        drill = _drill(server, folder)
        with Front(server.url) as front, drill.training(front.url):
            until(lambda: front.did[200] > 3, "the first batch")
            front.answers = status
            drill.phase()
            until(lambda: front.did[status], "the first refusal")
            told = drill.end()
            front.recover()
            return _sent(drill, told)

    return scenario


def never_answering(server: Server, folder: Path) -> Done:
    """Connections and requests are taken, and never answered."""
    drill = _drill(server, folder)
    with Front(server.url) as front:
        front.is_mute = True
        with drill.training(front.url):
            until(lambda: front.did["mute"], "the first request")
            drill.phase()
            told = drill.end()
        front.recover()
        return _sent(drill, told)


def slow(server: Server, folder: Path) -> Done:
    """Every request takes a second."""
    drill = _drill(server, folder)
    with Front(server.url) as front:
        front.delay = 1.0
        with drill.training(front.url):
            drill.phase()
            told = drill.end()
        until(lambda: front.did[200], "the first answer")
        front.recover()
        return _sent(drill, told)


# ---------------------------------------------------------------- this machine


def disk_full(server: Server, folder: Path) -> Done:
    """The spool's disk has no space left in the second phase, and some again in the third."""
    with mounted(folder / "disk", "size=16m") as disk:
        drill = replace(_drill(server, folder), spool=disk / "spool")
        with drill.training():
            fill(disk / "ballast")
            drill.phase()
            (disk / "ballast").unlink()
            told = drill.end()
        return _sent(drill, told)


def sender_killed(server: Server, folder: Path) -> Done:
    """The sender is killed in the second phase, and the next one at the training's end."""
    drill = _drill(server, folder)
    with drill.training():
        _kill_sender(drill)
        drill.phase()
        told = drill.end()
    return _sent(drill, told)


def _kill_sender(drill: Drill) -> None:
    (pid,) = until(lambda: senders(drill.spool), "the sender to run")
    os.kill(pid, signal.SIGKILL)


def trainer_killed(server: Server, folder: Path) -> Done:
    """The training is killed in the second phase."""
    drill = _drill(server, folder)
    with drill.training():
        drill.next_phase()
        until(lambda: drill.logged() > STEPS * 1.5, "some steps")
        drill.kill_training()
    return _sent(drill, None)


def both_killed(server: Server, folder: Path) -> Done:
    """The sender is killed, and then the training."""
    drill = _drill(server, folder)
    with drill.training():
        _kill_sender(drill)
        drill.next_phase()
        until(lambda: drill.logged() > STEPS * 1.5, "some steps")
        drill.kill_training()
    return _sent(drill, None)


SHARED: dict[str, Scenario] = {
    "fine": fine,
    "absent at the start": absent_at_start,
    "answers 500": answering(500),
    "answers 503 with Retry-After": answering(503),
    "answers 429 with Retry-After": answering(429),
    "answers 401": answering(401),
    "answers 400": answering(400),
    "turns to 400": turning_to(400),
    "never answers": never_answering,
    "slow: 1 s a request": slow,
    "the spool's disk full": disk_full,
    "sender killed": sender_killed,
    "trainer killed": trainer_killed,
    "trainer and sender killed": both_killed,
}
"""Those that leave the service as it was."""

ALONE: dict[str, Callable[[Path], Iterator[Done]]] = {
    "killed, and back in the next phase": killed_and_back,
    "killed, and back 20 s later": killed_and_back_after_20_seconds,
    "killed for good": killed_for_good,
}
"""Those that have one of their own."""
