"""The peers of the benchmark, as far as that needs none of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import beside
from bench.beside import Answered, PeerRun, Peers
from bench.figures import Yardstick
from bench.questions import FULL, TAIL

ROOT = Path(beside.__file__).parents[1]
PROTOCOL = ("READY", "SIZES", "SAMPLES_AT_START", "serve", "write", "full", "sampled", "points")


def run(name: str, steps: int, rate: float, *seconds: float) -> PeerRun:
    answered = Answered(seconds=list(seconds), from_memory=[0.001], cpu=0.1, size=10)
    return PeerRun(name, steps, rate, {FULL: answered}, memory=1, disk=1.0)


PEERS = Peers(
    [
        run("slow 1.0", 1_000, 90.0, 2.0, 3.0, 9.0),
        run("slow 1.0", 10_000, 100.0, 30.0),
        run("fast 2.0", 1_000, 3000.0, 1.0),
    ],
    {"absent": "it is not installed (scripts/peers)"},
)


def test_a_question_stands_beside_the_peers_that_answered_it_of_as_long_a_run() -> None:
    assert PEERS.answers(FULL, 1_000) == [
        Yardstick("slow 1.0", 3.0, is_peer=True),
        Yardstick("fast 2.0", 1.0, is_peer=True),
    ]
    assert PEERS.answers(FULL, 10_000) == [Yardstick("slow 1.0", 30.0, is_peer=True)]
    assert PEERS.answers(FULL, 100_000) == []
    assert PEERS.answers(TAIL, 1_000) == []


def test_a_peer_writes_as_fast_as_in_its_best_run() -> None:
    assert PEERS.rates() == [
        Yardstick("slow 1.0", 100.0, is_peer=True),
        Yardstick("fast 2.0", 3000.0, is_peer=True),
    ]


@pytest.mark.parametrize("peer", beside.NAMES)
def test_a_peers_module_needs_nothing_but_the_standard_library(peer: str) -> None:
    """It runs in the peer's environment, where nothing of tunelog's is."""
    script = f"import bench.peers.{peer} as it; print(*(n for n in {PROTOCOL} if hasattr(it, n)))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True
    )

    assert done.stdout.split() == list(PROTOCOL), done.stderr


def test_a_peer_that_is_not_installed_is_left_out_and_said(tmp_path: Path) -> None:
    peers, section = beside.measure(tmp_path, 1_000, environments=tmp_path / "nothing")

    assert list(peers.left_out) == list(beside.NAMES)
    assert section.figures == []
    assert "trackio: it is not installed (scripts/peers)" in section.load
