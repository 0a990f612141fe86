"""The spool: what is in it comes back, however its writer ended, whatever befell the file."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recording import environment, read_all, records, train, training, until
from tunelog.errors import StoreUnusable
from tunelog.recorder.records import framed_record
from tunelog.recorder.spool import (
    STATE,
    Damage,
    Frame,
    SpoolReader,
    SpoolWriter,
    framed,
    list_spools,
    parse_name,
    spool_path,
    writer_lives,
)
from tunelog.recorder.state import State, StateFile, claim
from tunelog.recorder.values import SnapshotEncoder
from tunelog.sender.records import PackedRecord, decode

TraceFunction = Callable[[FrameType, str, Any], Any]

HEADER = b"tunelog spool 2\n"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
fields = st.dictionaries(texts.filter(lambda name: name != "record"), json_values, max_size=4)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return spool_path(str(tmp_path), "ft-1", "00")


def write(path: str, *contents: dict[str, Any]) -> list[Frame]:
    """A finished spool with these records."""
    writer = SpoolWriter(path)
    for content in contents:
        writer.write(framed_record("test", content))
    writer.close()
    return [found for found in read_all(path) if isinstance(found, Frame)]


def rewrite(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)


# ---------------------------------------------------------------- what is written comes back


@given(contents=st.lists(fields, max_size=6))
def test_any_records_come_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, contents: list[dict[str, Any]]
) -> None:
    path = str(tmp_path_factory.mktemp("spools") / "ft-1.00.spool")
    frames = write(path, *contents)
    assert [json.loads(f.payload) for f in frames] == [{"record": "test", **c} for c in contents]
    assert [f.start for f in frames] == [len(HEADER), *(f.end for f in frames)][: len(frames)]


@given(
    values=st.dictionaries(
        st.text('abc%{}"\\é😀', min_size=1, max_size=6),
        st.floats() | st.integers(-(2**63), 2**63 - 1),
        min_size=1,
        max_size=8,
    ),
    repeats=st.integers(1, 2),
)
def test_any_numbers_come_back_bit_for_bit(values: dict[str, int | float], repeats: int) -> None:
    encoder = SnapshotEncoder()
    record: bytes | None = None
    for _ in range(repeats):  # the second time what comes before the numbers is known
        record, refused = encoder.encode(values, "train", 1, 2)
    assert record is not None
    kept = decode(record[18:-1])
    assert isinstance(kept, PackedRecord)
    seq, snapshot = kept.numbered()
    assert (seq, snapshot.global_step, snapshot.logged_at) == (repeats - 1, 1, 2)
    came_back = snapshot.values
    assert not refused
    assert list(came_back) == [f"train/{name}" for name in values]
    for logged, read in zip(values.values(), came_back.values(), strict=True):
        assert type(logged) is type(read)
        if isinstance(logged, float) and math.isnan(logged):
            assert math.isnan(read)
        elif isinstance(logged, float):
            assert struct.pack("d", logged) == struct.pack("d", read)
        else:
            assert logged == read


def test_a_reader_sees_what_is_appended_behind_it(path: str) -> None:
    writer = SpoolWriter(path)
    reader = SpoolReader(path)
    assert reader.next() is None
    for number in range(3):
        writer.write(framed_record("test", {"number": number}))
        found = reader.next()
        assert isinstance(found, Frame)
        assert json.loads(found.payload)["number"] == number
        assert reader.next() is None
    reader.close()
    writer.close()


def test_a_reader_can_begin_where_another_stopped(path: str) -> None:
    frames = write(path, {"a": 1}, {"b": 2}, {"c": 3})
    reader = SpoolReader(path, frames[0].end)
    assert list(iter(reader.next, None)) == frames[1:]
    reader.close()


def test_records_larger_than_a_read_come_back(path: str) -> None:
    contents = [{"text": letter * 3_000_000} for letter in "ab"]
    frames = write(path, *contents, {"last": 1})
    assert [json.loads(f.payload) for f in frames[:2]] == [
        {"record": "test", **c} for c in contents
    ]
    assert len(frames) == 3


def test_a_record_beyond_all_reason_is_refused_and_the_rest_goes_on(path: str) -> None:
    writer = SpoolWriter(path)
    with pytest.raises(OSError, match="too large"):
        writer.write(framed(b'{"record":"' + b"x" * 17_000_000))
    writer.write(framed_record("test", {}))
    writer.close()
    assert len(records(path)) == 1


def test_threads_do_not_mix_their_records(path: str) -> None:
    writer = SpoolWriter(path)

    def append(thread: int) -> None:
        for number in range(200):
            writer.write(framed_record("test", {"thread": thread, "number": number}))

    threads = [threading.Thread(target=append, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    for thread_number in range(4):
        numbers = [r["number"] for r in records(path) if r["thread"] == thread_number]
        assert numbers == list(range(200))


@pytest.mark.parametrize("line", range(4))
def test_a_writer_that_is_closed_under_a_thread_never_writes_into_another_file(
    path: str, line: int
) -> None:
    writer = SpoolWriter(path)
    record = framed_record("test", {})
    lines = itertools.count()
    opened: list[int] = []

    def close_at_line(frame: FrameType, event: str, arg: object) -> TraceFunction | None:
        """Close the writer before a line of `write`, others take its number."""
        if frame.f_code is not SpoolWriter.write.__code__:
            return None
        if event == "line" and next(lines) == line:
            writer.close()
            opened.extend(os.open(f"{path}.{n}", os.O_WRONLY | os.O_CREAT) for n in range(3))
        return close_at_line

    traced = sys.gettrace()
    sys.settrace(close_at_line)
    try:
        with contextlib.suppress(OSError):
            writer.write(record)
    finally:
        sys.settrace(traced)
    others = [os.fstat(fd).st_size for fd in opened]
    for fd in opened:
        os.close(fd)
    assert others == [0, 0, 0]
    assert writer_lives(path) is False


# ---------------------------------------------------------------- torn and damaged


@given(contents=st.lists(fields, min_size=1, max_size=4), data=st.data())
def test_a_file_cut_anywhere_gives_the_records_before_the_cut(
    tmp_path_factory: pytest.TempPathFactory, contents: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = str(tmp_path_factory.mktemp("spools") / "ft-1.00.spool")
    frames = write(path, *contents)
    cut = data.draw(st.integers(0, os.path.getsize(path) - 1))
    os.truncate(path, cut)
    assert read_all(path) == [frame for frame in frames if frame.end <= cut]


@given(contents=st.lists(fields, min_size=1, max_size=4), data=st.data())
def test_a_changed_byte_costs_one_record_at_most(
    tmp_path_factory: pytest.TempPathFactory, contents: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = str(tmp_path_factory.mktemp("spools") / "ft-1.00.spool")
    frames = write(path, *contents)
    whole = bytearray(Path(path).read_bytes())
    at = data.draw(st.integers(len(HEADER), len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    rewrite(path, bytes(whole))
    found = read_all(path)
    hit = next(frame for frame in frames if frame.start <= at < frame.end)
    others = [f for f in found if isinstance(f, Frame) and f.start != hit.start]
    assert others == [frame for frame in frames if frame != hit]
    for damage in found:
        if isinstance(damage, Damage):
            assert hit.start <= damage.start < damage.end <= hit.end


def test_damage_in_the_middle_is_reported_with_its_place(path: str) -> None:
    first, second, third = write(path, {"a": 1}, {"b": 2}, {"c": 3})
    whole = Path(path).read_bytes()
    rewrite(path, whole[: second.start] + bytes(second.end - second.start) + whole[second.end :])
    damage = Damage(second.start, second.end, "no whole record lies here")
    assert read_all(path) == [first, damage, third]


@pytest.mark.parametrize("length", [40_000_000, *range(17 * 2**20 - 80, 17 * 2**20 - 20, 15)])
def test_a_long_stretch_of_garbage_is_skipped(path: str, length: int) -> None:
    (first,) = write(path, {"a": 1})
    (second,) = write(path + "2", {"b": 2})
    garbage = b"\xff" * length
    with open(path, "ab") as file:
        file.write(garbage + Path(path + "2").read_bytes()[len(HEADER) :])
    found = read_all(path)
    assert found[0] == first
    assert [f.payload for f in found if isinstance(f, Frame)] == [first.payload, second.payload]
    damages = [f for f in found if isinstance(f, Damage)]
    assert sum(damage.end - damage.start for damage in damages) == len(garbage)


def test_a_write_cut_short_does_not_take_the_next_record_with_it(tmp_path: Path) -> None:
    script = """
import os, resource
from tunelog.recorder.records import framed_record
from tunelog.recorder.spool import SpoolWriter
writer = SpoolWriter(os.environ["TUNELOG_SPOOL"])
writer.write(framed_record("test", {"number": 1}))
resource.setrlimit(resource.RLIMIT_FSIZE, (writer.size() + 30, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        writer.write(framed_record("test", {"number": 2}))
    except OSError as error:
        print(type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.write(framed_record("test", {"number": 3}))
"""
    path = tmp_path / "ft-1.00.spool"
    done = train(script, environment(path))
    assert (done.stdout, done.stderr) == ("OSError\nOSError\n", "")
    kinds = [type(found) for found in read_all(path)]
    assert kinds == [Frame, Damage, Frame]
    assert [record["number"] for record in records(path)] == [1, 3]


def test_a_killed_writer_loses_nothing_that_it_had_written(tmp_path: Path) -> None:
    script = """
import itertools, os
from tunelog.recorder.records import framed_record
from tunelog.recorder.spool import SpoolWriter
writer = SpoolWriter(os.environ["TUNELOG_SPOOL"])
for number in itertools.count():
    writer.write(framed_record("test", {"number": number}))
    print(number, flush=True)
"""
    path = tmp_path / "ft-1.00.spool"
    with training(script, environment(path)) as process:
        assert process.stdout is not None
        for _ in range(50):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().splitlines()
    numbers = [record["number"] for record in records(path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 50 + len(said[:-1])


def test_another_file_is_not_taken_for_a_spool(path: str) -> None:
    rewrite(path, b"tunelog.db is something else\n")
    with pytest.raises(StoreUnusable, match="not a spool"):
        read_all(path)


def test_a_spool_of_a_newer_version_is_left_alone(path: str) -> None:
    rewrite(path, b"tunelog spool 3\n")
    with pytest.raises(StoreUnusable, match="of version 3"):
        read_all(path)


# ---------------------------------------------------------------- who holds it


def test_names_tell_job_and_age(tmp_path: Path) -> None:
    names = [
        spool_path(str(tmp_path), job, token) for job, token in [("ft-a.b", "02"), ("ft-z", "01")]
    ]
    for name in names:
        Path(name).touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "ft-a.03.spool.state").touch()
    assert list_spools(str(tmp_path)) == [names[1], names[0]]
    assert parse_name(names[0]) == ("ft-a.b", "02")


def test_a_writer_is_known_to_live_until_it_closes(path: str) -> None:
    writer = SpoolWriter(path)
    assert writer_lives(path)
    assert writer_lives(path)
    writer.close()
    assert writer_lives(path) is False


def test_a_killed_writer_is_known_to_be_gone(tmp_path: Path) -> None:
    script = """
import os, time
from tunelog.recorder.spool import SpoolWriter
writer = SpoolWriter(os.environ["TUNELOG_SPOOL"])
print("begun", flush=True)
time.sleep(60)
"""
    path = tmp_path / "ft-1.00.spool"
    with training(script, environment(path)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert writer_lives(str(path))
        process.kill()
        until(lambda: writer_lives(str(path)) is False, "the lock to be free")


def test_a_spool_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    script = """
import os, resource
from tunelog.recorder.spool import SpoolWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (3, resource.RLIM_INFINITY))
try:
    SpoolWriter(os.environ["TUNELOG_SPOOL"])
except OSError:
    print("refused")
"""
    done = train(script, environment(tmp_path / "ft-1.00.spool"))
    assert done.stdout == "refused\n"
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- the state beside it


def test_the_state_is_read_by_another_as_it_was_written(path: str) -> None:
    mine, other = StateFile(path + STATE), StateFile(path + STATE)
    assert other.read() == State()
    state = State(acknowledged=12, job_id="ft-2", attempt=3, stop=True, error="away")
    mine.write(state)
    assert other.read() == state
    mine.close()
    other.close()


@pytest.mark.parametrize("block", [b"", b"x" * 1024, b"00000000 {}".ljust(1024)])
def test_a_state_that_makes_no_sense_means_that_nothing_was_sent(path: str, block: bytes) -> None:
    rewrite(path + STATE, block)
    state = StateFile(path + STATE)
    assert state.read() == State()
    state.close()


def test_a_state_that_is_half_written_reads_as_it_was_before(path: str) -> None:
    state = StateFile(path + STATE)
    state.write(State(acknowledged=7))
    with open(path + STATE, "r+b") as file:
        file.seek(30)
        file.write(b"???")
    assert state.read() == State(acknowledged=7)
    state.close()


@pytest.mark.parametrize("letter", ["x", "é", "😀", "\\"])
def test_an_error_of_any_length_fits_into_the_state(path: str, letter: str) -> None:
    state = StateFile(path + STATE)
    state.write(State(acknowledged=2**60, job_id="ft-" + "y" * 125, error=letter * 5000))
    assert state.read().acknowledged == 2**60
    assert state.read().error
    assert os.path.getsize(path + STATE) == 1024
    state.close()


def test_a_spool_has_one_sender_at_a_time(path: str) -> None:
    write(path)
    mine = claim(path)
    assert mine is not None
    assert claim(path) is None
    mine.close()
    again = claim(path)
    assert again is not None
    again.close()


def test_a_spool_that_is_gone_cannot_be_claimed_and_nothing_is_left_of_the_try(path: str) -> None:
    assert claim(path) is None
    assert not os.path.exists(path + STATE)
