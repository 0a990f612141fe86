"""What the processes of one service share: counts, notices of changes, and one-time codes.

All of it is made by their parent before it forks them, and no answer of the API depends on it: what
the processes have to agree about, they agree about through the store. So a process whose siblings
are on other machines answers as well.
"""

from __future__ import annotations

import mmap
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import msgspec

from tunelog.server import tally
from tunelog.server.codes import Codes
from tunelog.server.tally import Tally

_MOST_NOTICE_BYTES = 1 << 16

ChangedJob = tuple[str, str]
"""The id of a project, and of a job in it."""


class Notices:
    """Tells the siblings which jobs have changed, and hears it of them.

    Nobody waits for a sibling: a notice for which one has no room is lost, and its tails see the
    change when next they look into the store.
    """

    def __init__(
        self, inbox: socket.socket | None = None, outboxes: Sequence[socket.socket] = ()
    ) -> None:
        """`inbox` takes what siblings tell, an outbox is the other end of a sibling's."""
        self.inbox = inbox
        self._outboxes = outboxes

    def tell(self, jobs: Iterable[ChangedJob]) -> None:
        """Tell the siblings that these jobs have changed."""
        notice = msgspec.json.encode(list(jobs))
        for outbox in self._outboxes:
            with suppress(OSError):
                outbox.send(notice, socket.MSG_DONTWAIT)

    def heard(self) -> list[ChangedJob]:
        """The jobs of the oldest notice; none if there is none, or it was too long."""
        assert self.inbox is not None
        try:
            notice = self.inbox.recv(_MOST_NOTICE_BYTES, socket.MSG_DONTWAIT)
            return msgspec.json.decode(notice, type=list[ChangedJob])
        except (OSError, msgspec.DecodeError):
            return []


class Sibling(NamedTuple):
    """One process of a service, as it sees itself."""

    number: int
    tallies: Sequence[Tally]
    notices: Notices
    codes: Codes

    @property
    def tally(self) -> Tally:
        """What it counts itself."""
        return self.tallies[self.number]


def alone(clock: Callable[[], int] = time.time_ns) -> Sibling:
    """The only process of a service; `clock` tells the time in nanoseconds since the epoch."""
    return Sibling(0, _tallies(1), Notices(), Codes(clock))


@contextmanager
def siblings(count: int, clock: Callable[[], int] = time.time_ns) -> Iterator[list[Sibling]]:
    """The processes of a service, as each is to see itself."""
    with ExitStack() as open_ones:
        pairs = []
        for _ in range(count):
            # Of local sockets, the ones that keep messages apart and have room for more than ten.
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pairs.append([open_ones.enter_context(end) for end in pair])
        tallies, codes = _tallies(count), Codes(clock)
        yield [
            Sibling(
                number,
                tallies,
                Notices(inbox, [theirs for i, (_, theirs) in enumerate(pairs) if i != number]),
                codes,
            )
            for number, (inbox, _) in enumerate(pairs)
        ]


def _tallies(count: int) -> list[Tally]:
    memory = memoryview(mmap.mmap(-1, count * tally.BYTES))
    return [Tally(memory[i * tally.BYTES :][: tally.BYTES]) for i in range(count)]
