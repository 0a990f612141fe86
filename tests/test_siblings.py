"""What the processes of one service share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.serving import PATIENCE
from tunelog.server.codes import Codes
from tunelog.server.service import News
from tunelog.server.siblings import alone, siblings

JOB = ("proj-a", "ft-b")


def in_a_child(work: Callable[[], bool]) -> bool:
    """What `work` answers in a process that was forked from this one."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if work() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_each_process_counts_and_all_can_read_it() -> None:
    with siblings(2) as (one, other):

        def count() -> bool:
            other.tally.add(("seen", 'by "another"'), 2.5)
            other.tally.add(("seen", "twice"))
            other.tally.add(("seen", "twice"))
            return True

        assert in_a_child(count)
        found = {("seen", 'by "another"'): 2.5, ("seen", "twice"): 2.0}
        assert [dict(tally.items()) for tally in one.tallies] == [{}, found]


def test_who_takes_the_place_of_a_dead_process_counts_on() -> None:
    only = alone()

    def count() -> bool:
        only.tally.add(("seen",), 2)
        only.tally.set(("under way",), 7)
        return True

    assert in_a_child(count)
    only.tally.set(("under way",), 0)
    only.tally.add(("seen",))
    only.tally.add(("new",))
    assert dict(only.tally.items()) == {("seen",): 3.0, ("under way",): 0.0, ("new",): 1.0}


def test_a_code_is_taken_by_one_process() -> None:
    codes = Codes(lambda: 0)
    code, other = codes.new("key-1"), codes.new("key-2")
    assert in_a_child(lambda: codes.redeem(code) == "key-1")
    assert in_a_child(lambda: codes.redeem(code) is None)
    assert codes.redeem(code) is None
    assert codes.redeem(other) == "key-2"
    assert codes.redeem("nobody's") is None


def test_a_change_in_one_process_wakes_those_who_wait_for_it_in_another() -> None:
    async def woken() -> tuple[bool, bool]:
        with siblings(2) as family:
            here, there = (News(sibling.notices) for sibling in family)
            with here.told(), there.told():
                waiting, elsewhere = here.listen(*JOB), here.listen("proj-a", "ft-c")
                there.published(*JOB)
                await asyncio.wait_for(waiting.wait(), PATIENCE)
                return waiting.is_set(), elsewhere.is_set()

    with ThreadPoolExecutor(1) as thread:  # a browser of other tests has its event loop in this one
        assert thread.submit(asyncio.run, woken()).result() == (True, False)


def test_nobody_waits_for_a_sibling_that_does_not_listen() -> None:
    with siblings(2) as family:
        here, there = (sibling.notices for sibling in family)
        for number in range(10_000):
            here.tell([("proj-a", f"ft-{number}")])
        heard = []
        while jobs := there.heard():
            heard += jobs
        assert 0 < len(heard) < 10_000
        assert heard == [("proj-a", f"ft-{number}") for number in range(len(heard))]
        here.tell([JOB])
        assert there.heard() == [JOB]
