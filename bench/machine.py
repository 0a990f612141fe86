"""The machine that the benchmark runs on, and how busy it is."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
from pathlib import Path


class Load:
    """How busy the machine is from here on, and how much of that is not this benchmark."""

    def __init__(self) -> None:
        self._begun = os.getloadavg()[0]
        self._busy, self._all = _ticks()
        self._own = _own_seconds()

    def so_far(self) -> str:
        """In words; every process that the benchmark started meanwhile should have ended."""
        busy, every = _ticks()
        others = (busy - self._busy) / os.sysconf("SC_CLK_TCK") - (_own_seconds() - self._own)
        cores = (every - self._all) / os.sysconf("SC_CLK_TCK")
        share = max(0.0, others) / max(cores, 1e-9)
        return (
            f"1-minute load {self._begun:.1f} at the start, {os.getloadavg()[0]:.1f} at the end; "
            f"others used {share:.0%} of the {os.cpu_count()} cores"
        )


def _ticks() -> tuple[int, int]:
    """Ticks that all cores were busy, and all ticks (proc_stat(5))."""
    with open("/proc/stat") as file:
        user, nice, system, idle, iowait, irq, softirq, steal = map(
            int, file.readline().split()[1:9]
        )
    busy = user + nice + system + irq + softirq + steal
    return busy, busy + idle + iowait


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def machine() -> str:
    """The machine and what runs on it, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {versions}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
