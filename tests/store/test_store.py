"""The contract of a store as sentences, over every backend."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from tests.store.conftest import Clock
from tests.store.samples import SECOND, T0, batch, evaluated, rows, steps, train
from tunelog.errors import Conflict, InvalidRequest, NotFound
from tunelog.model import (
    Attempt,
    Checkpoint,
    Event,
    JobChanges,
    JobDetails,
    Point,
    Receipt,
    SnapshotArrived,
    SnapshotQuery,
    StatusChanged,
    Superseded,
)
from tunelog.store import Store

JOB = "ft-1"


@pytest.fixture(autouse=True)
def job(store: Store) -> None:
    store.create_job(JobDetails(model="m"), JOB)


# ---------------------------------------------------------------- what goes in comes out


def test_a_row_is_timestamp_and_step_and_then_the_keys_as_logged(store: Store) -> None:
    store.append(JOB, batch(train(7, loss=0.5, b=2, a=1e-05)))
    assert [list(row.items()) for row in rows(store.read(JOB))] == [
        [
            ("timestamp", T0 + 7 * SECOND),
            ("train/global_step", 7),
            ("train/loss", 0.5),
            ("train/b", 2),
            ("train/a", 1e-05),
        ]
    ]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(values=st.lists(st.floats() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_every_value_comes_back_bit_for_bit(store: Store, values: list[float]) -> None:
    job = store.create_job(JobDetails(model="m")).id
    store.append(job, batch(*(train(i, v=value) for i, value in enumerate(values))))
    back = [row["train/v"] for row in rows(store.read(job, SnapshotQuery(nonfinite="string")))]
    words = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    assert [repr(words.get(v, v)) for v in back] == [repr(value) for value in values]


def test_rows_are_read_by_time_then_attempt_writer_and_sequence_number(store: Store) -> None:
    store.open_attempt(JOB)
    store.open_attempt(JOB, 9)
    store.append(JOB, batch(train(8, at=T0), attempt=2, writer=0, first_seq=3))
    store.append(JOB, batch(train(5, at=T0), train(3, at=T0), attempt=1, writer=1, first_seq=0))
    store.append(JOB, batch(train(7, at=T0), attempt=1, writer=0, first_seq=9))
    store.append(JOB, batch(train(1, at=T0 - 1), attempt=1, writer=2, first_seq=9))
    assert steps(store.read(JOB, SnapshotQuery(attempt="all"))) == [1, 7, 5, 3, 8]


def test_rows_may_arrive_in_any_order_and_after_the_job_has_ended(store: Store) -> None:
    store.append(JOB, batch(train(3)))
    store.update_job(JOB, JobChanges(status="completed"))
    receipt = store.append(JOB, batch(train(1), train(2)))
    assert receipt == Receipt(2, 0, "completed")
    assert steps(store.read(JOB)) == [1, 2, 3]


def test_a_history_larger_than_a_block_is_read_whole(store: Store) -> None:
    for start in range(0, 5000, 1000):
        store.append(JOB, batch(*(train(start + i) for i in range(1000))))
    store.append(JOB, batch(*(train(i, at=T0 + i * SECOND + 1) for i in range(4999, 0, -2))))
    reading = store.read(JOB)
    assert reading.matched == 7500
    found = rows(reading)
    assert len(found) == 7500
    assert [row["timestamp"] for row in found] == sorted(row["timestamp"] for row in found)


def test_a_thousand_rows_at_one_moment_keep_their_order(store: Store) -> None:
    store.append(JOB, batch(*(train(i, at=T0) for i in range(10_000)), first_seq=0))
    assert steps(store.read(JOB)) == list(range(10_000))
    assert steps(store.read(JOB, SnapshotQuery(resolution=3))) == [0, 4999, 9999]


# ---------------------------------------------------------------- writing


def test_a_repeated_batch_is_stored_once_and_the_first_content_wins(store: Store) -> None:
    assert store.append(JOB, batch(train(1, loss=1), first_seq=0)) == Receipt(1, 0, "running")
    again = batch(train(1, loss=9), train(2, loss=2), first_seq=0)
    assert store.append(JOB, again) == Receipt(1, 1, "running")
    assert store.append(JOB, again) == Receipt(0, 2, "running")
    assert [row["train/loss"] for row in rows(store.read(JOB))] == [1, 2]


def test_gaps_in_the_sequence_may_be_filled_later(store: Store) -> None:
    for first, stored in ((10, 1), (12, 1), (11, 1), (9, 1), (11, 0)):
        assert store.append(JOB, batch(train(first), first_seq=first)).stored == stored
    assert store.append(JOB, batch(*map(train, range(8, 15)), first_seq=8)) == Receipt(
        3, 4, "running"
    )


def test_batches_without_a_sequence_number_never_meet_a_writers_own(store: Store) -> None:
    for _ in range(2):
        assert store.append(JOB, batch(train(1), train(2))).stored == 2
    assert store.append(JOB, batch(train(3), first_seq=0)).stored == 1
    assert store.read(JOB).matched == 5


def test_writers_and_attempts_number_their_snapshots_apart(store: Store) -> None:
    store.open_attempt(JOB)
    store.open_attempt(JOB, 5)
    for attempt, writer in ((1, 0), (1, 1), (2, 0)):
        receipt = store.append(JOB, batch(train(1), attempt=attempt, writer=writer, first_seq=0))
        assert receipt.stored == 1


def test_an_attempt_that_was_never_opened_is_refused_and_nothing_is_stored(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="attempt: 2 was never opened"):
        store.append(JOB, batch(train(1), attempt=2))
    assert store.read(JOB).matched == 0


def test_an_empty_batch_is_a_receipt_and_leaves_the_job_pending(store: Store) -> None:
    assert store.append(JOB, batch()) == Receipt(0, 0, "pending")


def test_writing_to_an_unknown_job_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="ft-unknown"):
        store.append("ft-unknown", batch(train(1)))


# ---------------------------------------------------------------- filters


def test_bounds_are_inclusive_and_combined(store: Store) -> None:
    store.append(JOB, batch(*map(train, range(10))))
    query = SnapshotQuery(
        global_step_from=2,
        global_step_to=8,
        logged_at_from=T0 + 3 * SECOND,
        logged_at_to=T0 + 7 * SECOND,
    )
    assert steps(store.read(JOB, query)) == [3, 4, 5, 6, 7]


def test_times_are_compared_to_the_nanosecond(store: Store) -> None:
    store.append(JOB, batch(train(1, at=T0), train(2, at=T0 + 1), train(3, at=T0 + 2)))
    only = SnapshotQuery(logged_at_from=T0 + 1, logged_at_to=T0 + 1)
    assert steps(store.read(JOB, only)) == [2]


@pytest.mark.parametrize(
    "query",
    [
        SnapshotQuery(global_step_from=9, global_step_to=1),
        SnapshotQuery(logged_at_from=T0 * 2),
        SnapshotQuery(global_step_from=2**63 - 1),
        SnapshotQuery(global_step_to=-1),
        SnapshotQuery(keys=("nothing/*",)),
        SnapshotQuery(attempt=7),
    ],
)
def test_a_range_that_holds_nothing_gives_an_empty_reading(
    store: Store, query: SnapshotQuery
) -> None:
    store.append(JOB, batch(*map(train, range(10))))
    reading = store.read(JOB, query)
    assert (reading.matched, rows(reading)) == (0, [])


def test_keys_choose_rows_and_what_they_show(store: Store) -> None:
    store.append(JOB, batch(train(1, loss=1, lr=2), train(2, lr=3), evaluated(2, loss=4)))
    reading = store.read(JOB, SnapshotQuery(keys=("train/loss", "eval/*")))
    assert [list(row)[2:] for row in rows(reading)] == [["train/loss"], ["eval/loss"]]
    assert reading.matched == 2


def test_keys_choose_among_thousands_of_key_sets(store: Store) -> None:
    store.append(JOB, batch(*(train(i, **{f"{'ab'[i % 2]}{i}": 1}) for i in range(6_000))))
    reading = store.read(JOB, SnapshotQuery(keys=("train/a*",), resolution=3))
    assert reading.matched == 3_000
    assert steps(reading) == [0, 2998, 5998]


def test_a_key_that_every_row_has_chooses_every_row(store: Store) -> None:
    store.append(JOB, batch(train(1), evaluated(1)))
    found = rows(store.read(JOB, SnapshotQuery(keys=("train/global_step",))))
    assert [list(row) for row in found] == [["timestamp", "train/global_step"]] * 2


# ---------------------------------------------------------------- sampling


def test_a_resolution_keeps_exactly_n_train_rows_and_every_eval_row(store: Store) -> None:
    store.append(JOB, batch(*map(train, range(10)), evaluated(3), evaluated(9)))
    reading = store.read(JOB, SnapshotQuery(resolution=4))
    assert (reading.matched, reading.returned) == (12, 6)
    assert steps(reading) == [0, 3, 3, 6, 9, 9]


def test_sampling_counts_what_the_filters_let_through(store: Store) -> None:
    store.append(JOB, batch(*map(train, range(3000))))
    query = SnapshotQuery(resolution=3, global_step_from=1000, global_step_to=2000)
    assert steps(store.read(JOB, query)) == [1000, 1500, 2000]


@pytest.mark.parametrize(("resolution", "expected"), [(1, [9]), (0, []), (-8, [])])
def test_small_resolutions_keep_the_last_or_none(
    store: Store, resolution: int, expected: list[int]
) -> None:
    store.append(JOB, batch(*map(train, range(10))))
    assert steps(store.read(JOB, SnapshotQuery(resolution=resolution))) == expected


def test_minmax_never_loses_a_spike(store: Store) -> None:
    losses = [1.0] * 4000
    losses[1234], losses[3333] = 100.0, -100.0
    store.append(JOB, batch(*(train(i, loss=loss) for i, loss in enumerate(losses))))
    reading = store.read(JOB, SnapshotQuery(resolution=50, sampling="minmax"))
    found = steps(reading)
    assert {0, 1234, 3333, 3999} <= set(found)
    assert len(found) <= 50


# ---------------------------------------------------------------- attempts


def test_a_restart_supersedes_what_it_will_log_again(store: Store) -> None:
    store.append(JOB, batch(*map(train, range(1, 6)), evaluated(5)))
    assert store.open_attempt(JOB, 4).attempt == 2
    assert steps(store.read(JOB)) == [1, 2, 3]
    store.append(JOB, batch(train(4, at=T0 + 9 * SECOND), attempt=2))
    assert steps(store.read(JOB)) == [1, 2, 3, 4]
    assert steps(store.read(JOB, SnapshotQuery(attempt="all"))) == [1, 2, 3, 4, 5, 5, 4]
    assert steps(store.read(JOB, SnapshotQuery(attempt=1))) == [1, 2, 3, 4, 5, 5]


def test_the_first_step_of_an_attempt_is_the_lowest_it_states_or_trains(store: Store) -> None:
    store.append(JOB, batch(*map(train, range(1, 6))))
    store.open_attempt(JOB, 5)
    store.append(JOB, batch(train(3, at=T0 + 9 * SECOND), evaluated(1, at=T0 + 9 * SECOND)))
    assert [a.first_step for a in store.attempts(JOB)] == [1, 3]
    assert steps(store.read(JOB)) == [1, 2, 3, 1]


def test_an_attempt_that_states_nothing_supersedes_nothing_until_it_logs(store: Store) -> None:
    store.append(JOB, batch(*map(train, range(1, 6))))
    store.open_attempt(JOB)
    assert steps(store.read(JOB)) == [1, 2, 3, 4, 5]


def test_the_first_attempt_needs_no_opening_but_may_have_one(store: Store) -> None:
    assert store.open_attempt(JOB).attempt == 1
    other = store.create_job(JobDetails(model="m")).id
    store.append(other, batch(train(1)))
    assert [(a.attempt, a.opened_at) for a in store.attempts(other)] == [(1, None)]
    assert store.open_attempt(other).attempt == 2


def test_opening_again_under_one_id_answers_the_same_attempt(store: Store) -> None:
    first = store.open_attempt(JOB, 3, "token")
    assert store.open_attempt(JOB, 3, "token").attempt == first.attempt
    assert store.open_attempt(JOB, 3, "other").attempt == first.attempt + 1


def test_opening_again_may_state_the_first_step_that_was_not_stated_before(store: Store) -> None:
    store.append(JOB, batch(*map(train, range(1, 6))))
    store.open_attempt(JOB, None, "token")
    cursor = store.changes(JOB).cursor
    assert store.open_attempt(JOB, None, "token").from_step is None
    stated = store.open_attempt(JOB, 4, "token")
    assert (stated.attempt, stated.from_step) == (2, 4)
    assert steps(store.read(JOB)) == [1, 2, 3]
    (superseded,) = store.changes(JOB, SnapshotQuery(after=cursor)).items
    assert isinstance(superseded, Superseded)
    assert (superseded.attempt, superseded.from_step) == (2, 4)
    again = store.open_attempt(JOB, 2, "token")
    assert (again.attempt, again.from_step) == (2, 4)
    assert steps(store.read(JOB)) == [1, 2, 3]
    assert store.changes(JOB, SnapshotQuery(after=superseded.cursor)).items == []


def test_a_first_step_stated_late_does_not_raise_what_was_logged(store: Store) -> None:
    store.append(JOB, batch(*map(train, range(1, 6))))
    store.open_attempt(JOB, None, "token")
    store.append(JOB, batch(train(2, at=T0 + 9 * SECOND), attempt=2))
    cursor = store.changes(JOB).cursor
    store.open_attempt(JOB, 4, "token")
    attempt = store.attempts(JOB)[1]
    assert (attempt.from_step, attempt.first_step) == (4, 2)
    assert store.changes(JOB, SnapshotQuery(after=cursor)).items == []


def test_attempts_say_under_which_id_they_were_opened(store: Store) -> None:
    store.open_attempt(JOB, open_id="token")
    store.open_attempt(JOB, 3)
    assert [a.open_id for a in store.attempts(JOB)] == ["token", None]


def test_batches_go_to_the_newest_attempt_unless_they_say_otherwise(store: Store) -> None:
    store.open_attempt(JOB)
    store.open_attempt(JOB, 100)
    store.append(JOB, batch(train(100)))
    assert steps(store.read(JOB, SnapshotQuery(attempt=2))) == [100]


# ---------------------------------------------------------------- non-finite values


def test_a_nonfinite_value_is_left_out_and_counted(store: Store) -> None:
    store.append(
        JOB, batch(train(1, loss=math.nan, lr=1, g=-math.inf), evaluated(1, loss=math.inf))
    )
    found = rows(store.read(JOB))
    assert [list(row.items())[2:] for row in found] == [
        [("train/lr", 1), ("train/nonfinite", 2)],
        [("eval/nonfinite", 1)],
    ]


def test_a_nonfinite_value_is_shown_where_it_is_asked_for(store: Store) -> None:
    store.append(JOB, batch(train(1, loss=math.nan, g=-math.inf)))
    as_null = rows(store.read(JOB, SnapshotQuery(nonfinite="null")))[0]
    as_string = rows(store.read(JOB, SnapshotQuery(nonfinite="string")))[0]
    assert list(as_null.items())[2:] == [("train/loss", None), ("train/g", None)]
    assert list(as_string.items())[2:] == [("train/loss", "NaN"), ("train/g", "-Infinity")]


def test_nonfinite_values_are_counted_over_the_keys_that_are_shown(store: Store) -> None:
    store.append(JOB, batch(train(1, loss=math.nan, lr=1, g=math.inf)))
    found = rows(store.read(JOB, SnapshotQuery(keys=("train/loss", "train/lr"))))
    assert list(found[0].items())[2:] == [("train/lr", 1), ("train/nonfinite", 1)]
    clean = rows(store.read(JOB, SnapshotQuery(keys=("train/lr",))))
    assert list(clean[0].items())[2:] == [("train/lr", 1)]


# ---------------------------------------------------------------- summary, columns


def test_a_summary_has_ends_and_extremes_of_the_finite_values(store: Store) -> None:
    losses = [3.0, math.nan, 1.0, 5.0, 2.0, math.inf]
    store.append(JOB, batch(*(train(i, loss=v) for i, v in enumerate(losses)), evaluated(2)))
    summary = store.summarize(JOB)
    assert summary.snapshots == {"train": 6, "eval": 1}
    loss = summary.metrics["train/loss"]
    assert (loss.count, loss.nonfinite, loss.first_nonfinite_step) == (6, 2, 1)
    assert (loss.first, loss.last) == (Point(3.0, 0), Point(2.0, 4))
    assert (loss.min, loss.max) == (Point(1.0, 2), Point(5.0, 3))


def test_a_summary_sees_the_effective_history_and_the_filters(store: Store) -> None:
    store.append(JOB, batch(*(train(i, loss=i) for i in range(10))))
    store.open_attempt(JOB, 5)
    assert store.summarize(JOB).metrics["train/loss"].last == Point(4, 4)
    filtered = store.summarize(JOB, SnapshotQuery(global_step_to=2)).metrics["train/loss"]
    assert filtered.count == 3


def test_columns_come_in_the_order_first_logged(store: Store) -> None:
    store.append(JOB, batch(train(1, z=1), train(2, a=1, z=1), evaluated(2)))
    assert [column.name for column in store.columns(JOB)] == ["train/z", "train/a", "eval/loss"]


# ---------------------------------------------------------------- cursors


def test_a_cursor_gives_only_what_arrived_since_late_rows_included(store: Store) -> None:
    store.append(JOB, batch(train(5)))
    cursor = store.read(JOB).cursor
    store.append(JOB, batch(train(2), train(9)))
    later = store.read(JOB, SnapshotQuery(after=cursor))
    assert steps(later) == [2, 9]
    assert steps(store.read(JOB, SnapshotQuery(after=later.cursor))) == []


def test_changes_tell_of_snapshots_supersession_and_status_as_they_came(store: Store) -> None:
    store.append(JOB, batch(train(1), train(2)))
    begin = store.changes(JOB)
    assert [type(c) for c in begin.items] == [SnapshotArrived, SnapshotArrived, StatusChanged]
    store.open_attempt(JOB, 2)
    store.append(JOB, batch(train(2, at=T0 + 9 * SECOND)))
    store.update_job(JOB, JobChanges(status="completed"))
    then = store.changes(JOB, SnapshotQuery(after=begin.cursor))
    superseded, arrived, status = then.items
    assert isinstance(superseded, Superseded)
    assert (superseded.attempt, superseded.from_step) == (2, 2)
    assert isinstance(arrived, SnapshotArrived)
    assert b'"train/global_step":2' in arrived.line
    assert isinstance(status, StatusChanged)
    assert status.status == "completed"
    assert store.changes(JOB, SnapshotQuery(after=then.cursor)).items == []


def test_supersession_stands_before_the_snapshot_that_caused_it(store: Store) -> None:
    store.append(JOB, batch(train(1), train(2)))
    cursor = store.changes(JOB).cursor
    store.open_attempt(JOB)
    store.append(JOB, batch(train(2, at=T0 + 9 * SECOND)))
    kinds = [type(c) for c in store.changes(JOB, SnapshotQuery(after=cursor)).items]
    assert kinds == [Superseded, SnapshotArrived]


def test_changes_come_in_parts_without_gap_or_repeat(store: Store) -> None:
    store.append(JOB, batch(*map(train, range(25))))
    cursor, seen = None, []
    while True:
        part = store.changes(JOB, SnapshotQuery(after=cursor), limit=10)
        seen += [c for c in part.items if isinstance(c, SnapshotArrived)]
        cursor = part.cursor
        if not part.more:
            break
    assert len(seen) == len({c.cursor for c in seen}) == 25


# ---------------------------------------------------------------- jobs


def test_creating_a_job_again_answers_it_unchanged(store: Store) -> None:
    store.append(JOB, batch(train(1)))
    again = store.create_job(JobDetails(model="other", suffix="s"), JOB)
    assert (again.status, again.details) == ("running", JobDetails(model="m"))


def test_jobs_are_listed_newest_first_by_name_and_up_to_a_limit(store: Store) -> None:
    for name in ("a", "b", "a"):
        store.create_job(JobDetails(model="m", name=name))
    assert [job.details.name for job in store.jobs()] == ["a", "b", "a", None]
    assert [job.details.name for job in store.jobs(name="a")] == ["a", "a"]
    assert [job.details.name for job in store.jobs(limit=2)] == ["a", "b"]


def test_the_first_snapshot_starts_a_job_and_late_ones_do_not_wake_it(store: Store) -> None:
    assert store.job(JOB).status == "pending"
    store.append(JOB, batch(train(1)))
    started = store.job(JOB).started_at
    assert store.job(JOB).status == "running"
    assert started is not None
    store.update_job(JOB, JobChanges(status="error"))
    assert store.append(JOB, batch(train(2))).status == "error"
    assert store.job(JOB).started_at == started


def test_changes_of_details_clear_and_merge(store: Store) -> None:
    store.update_job(JOB, JobChanges(details={"suffix": "s", "hyperparameters": {"a": 1, "b": 2}}))
    job = store.update_job(
        JOB, JobChanges(details={"suffix": None, "hyperparameters": {"b": 3, "c": True}})
    )
    assert job.details.suffix is None
    assert job.details.hyperparameters == {"a": 1, "b": 3, "c": True}


def test_a_cancel_ends_a_job_that_has_not_started_at_once(store: Store) -> None:
    assert store.cancel_job(JOB).status == "cancelled"
    assert store.cancel_job(JOB).status == "cancelled"


def test_a_cancel_reaches_the_trainer_by_every_later_receipt(store: Store) -> None:
    store.append(JOB, batch(train(1)))
    assert store.cancel_job(JOB).status == "cancel_requested"
    assert store.append(JOB, batch(train(2))).status == "cancel_requested"
    store.update_job(JOB, JobChanges(status="running"))
    assert store.append(JOB, batch(train(3))).status == "cancel_requested"
    assert store.update_job(JOB, JobChanges(status="cancelled")).status == "cancelled"


def test_a_finished_job_cannot_be_cancelled(store: Store) -> None:
    store.update_job(JOB, JobChanges(status="completed"))
    with pytest.raises(Conflict, match="completed"):
        store.cancel_job(JOB)


def test_a_deleted_job_is_gone_with_all_its_history(store: Store) -> None:
    store.append(JOB, batch(train(1)))
    store.delete_job(JOB)
    with pytest.raises(NotFound):
        store.job(JOB)
    store.create_job(JobDetails(model="m"), JOB)
    assert store.read(JOB).matched == 0
    assert store.attempts(JOB) == []


def test_progress_is_what_truly_remains(store: Store, clock: Clock) -> None:
    store.append(JOB, batch(train(1)))
    job = store.update_job(JOB, JobChanges(seconds_remaining=60))
    assert job.ends_at is not None
    assert abs(job.ends_at - clock.now - 60 * SECOND) <= 2 * SECOND
    assert store.update_job(JOB, JobChanges(seconds_remaining=None)).ends_at is None


# ---------------------------------------------------------------- events, checkpoints


def test_events_and_checkpoints_come_back_oldest_first_and_once(store: Store) -> None:
    event = Event(
        type="warning", message="hot", created_at=T0 // 1000 * 1000, level="warning", id="e"
    )
    assert store.add_event(JOB, event) == event
    assert store.add_event(JOB, Event(type="x", message="y", created_at=1000, id="e")) == event
    own = [e for e in store.events(JOB) if e.id]
    assert own == [event]
    checkpoint = Checkpoint(step=5, path="/c", created_at=1000, checkpoint="model", id="c")
    assert store.add_checkpoint(JOB, checkpoint) == checkpoint
    assert store.add_checkpoint(JOB, checkpoint) == checkpoint
    later = Checkpoint(step=6, path="/d", created_at=2000)
    store.add_checkpoint(JOB, later)
    assert store.checkpoints(JOB) == [checkpoint, later]


def test_an_event_that_comes_late_stands_where_it_happened(store: Store) -> None:
    for message, at in (("second", 2000), ("first", 1000), ("second, too", 2000)):
        store.add_event(JOB, Event(type="note", message=message, created_at=at))
    notes = [event.message for event in store.events(JOB) if event.type == "note"]
    assert notes == ["first", "second", "second, too"]


def test_a_job_tells_its_life_in_events(store: Store) -> None:
    store.append(JOB, batch(train(1)))
    store.open_attempt(JOB, 2)
    store.cancel_job(JOB)
    store.update_job(JOB, JobChanges(status="cancelled"))
    assert [event.type for event in store.events(JOB)] == [
        "job_pending",
        "job_start",
        "job_restarted",
        "cancel_requested",
        "job_stopped",
    ]


def test_attempts_are_listed_as_they_were_opened(store: Store) -> None:
    store.append(JOB, batch(train(4)))
    store.open_attempt(JOB, 3)
    first, second = store.attempts(JOB)
    assert first == Attempt(attempt=1, first_step=4)
    assert (second.attempt, second.from_step, second.first_step) == (2, 3, 3)
    assert second.opened_at is not None
