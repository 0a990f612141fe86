"""What goes over the wire comes back: times, queries, batches."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from tunelog.errors import InvalidRequest
from tunelog.model import INT64_MAX, INT64_MIN, Batch, Snapshot, SnapshotQuery
from tunelog.wire.catalog import parse_attempt
from tunelog.wire.queries import parse_jobs_query, parse_query, query_parameters
from tunelog.wire.snapshots import (
    MAX_FIRST_SEQ,
    STEP,
    TIMESTAMP,
    Limits,
    decode_batch,
    decode_ndjson_batch,
    decode_values,
    encode_batch,
    encode_snapshots,
)
from tunelog.wire.times import format_time, parse_time

EPOCH = datetime(1970, 1, 1)
NOW = 1_779_196_193_564_587_001
int64 = st.integers(INT64_MIN, INT64_MAX)


def refusal(call: Callable[..., object], *arguments: object) -> InvalidRequest | None:
    """The error that a call is refused with, if it is; any other error is one of ours."""
    try:
        call(*arguments)
    except InvalidRequest as error:
        return error
    return None


# ---------------------------------------------------------------- times

moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))
fractions = st.text("0123456789", max_size=9)


def nanoseconds(moment: datetime, fraction: str, offset: timedelta) -> int:
    """What a time means, reckoned in whole numbers."""
    whole = moment.replace(microsecond=0) - EPOCH - offset
    seconds = whole // timedelta(seconds=1)
    return seconds * 10**9 + int(fraction.ljust(9, "0"))


@st.composite
def zones(draw: st.DrawFn) -> tuple[str, timedelta]:
    """A zone as clients write it, and how far it is ahead of UTC."""
    sign = draw(st.sampled_from("+- "))  # a space is a + that a URL left unencoded
    hours, minutes = draw(st.integers(0, 23)), draw(st.integers(0, 59))
    forms = {
        f"{sign}{hours:02d}:{minutes:02d}": (hours, minutes),
        f"{sign}{hours:02d}{minutes:02d}": (hours, minutes),
        "Z": (0, 0),
        "z": (0, 0),
        "": (0, 0),
    }
    if sign != " ":
        forms[f"{sign}{hours:02d}"] = (hours, 0)
    written = draw(st.sampled_from(sorted(forms)))
    ahead = timedelta(hours=forms[written][0], minutes=forms[written][1])
    return written, -ahead if written.startswith("-") else ahead


@given(moment=moments, fraction=fractions, zone=zones(), between=st.sampled_from("Tt "))
def test_every_form_of_a_time_means_what_datetime_says(
    moment: datetime, fraction: str, zone: tuple[str, timedelta], between: str
) -> None:
    written, offset = zone
    clock = f"{moment:%H:%M:%S}" + (f".{fraction}" if fraction else "")
    text = f"{moment:%Y-%m-%d}".rjust(10, "0") + between + clock + written
    expected = nanoseconds(moment, fraction, offset)
    assert parse_time(text, "t") == parse_time(f" {text} ", "t", round_up=True) == expected
    assert parse_time(text.replace(".", ","), "t") == expected


@given(moment=moments)
def test_a_date_is_its_midnight_and_seconds_may_be_left_out(moment: datetime) -> None:
    date = f"{moment:%Y-%m-%d}".rjust(10, "0")
    midnight = moment.replace(hour=0, minute=0, second=0)
    assert parse_time(date, "t") == nanoseconds(midnight, "", timedelta())
    minute = nanoseconds(moment.replace(second=0), "", timedelta())
    assert parse_time(f"{date}T{moment:%H:%M}Z", "t") == minute


@given(moment=moments, minutes=st.integers(-1439, 1439))
def test_what_python_clients_write_is_read(moment: datetime, minutes: int) -> None:
    offset = timedelta(minutes=minutes)
    aware = moment.replace(tzinfo=timezone(offset))
    expected = nanoseconds(moment, f"{moment.microsecond:06d}", offset)
    assert parse_time(aware.isoformat(), "t") == expected
    assert (
        parse_time(moment.isoformat(), "t") == expected + offset // timedelta(microseconds=1) * 1000
    )


@given(ns=st.integers(0, 10**18), below=st.text("0123456789", min_size=1, max_size=20))
def test_digits_below_a_nanosecond_are_dropped_or_carry(ns: int, below: str) -> None:
    text = f"{format_time(ns - ns % 1000)[:-1]}{ns % 1000:03d}{below}Z"
    assert parse_time(text, "t") == ns
    assert parse_time(text, "t", round_up=True) == ns + (below.strip("0") != "")


@given(ns=st.one_of(int64, st.integers(-(10**21), 10**21)))
def test_a_time_is_written_in_the_one_form_that_every_client_reads(ns: int) -> None:
    first, last = (
        (moment - EPOCH) // timedelta(microseconds=1) for moment in (datetime.min, datetime.max)
    )
    micros = min(max(ns // 1000, first), last)
    written = format_time(ns)
    moment = datetime.strptime(written.rjust(27, "0"), "%Y-%m-%dT%H:%M:%S.%fZ")
    assert moment - EPOCH == timedelta(microseconds=micros)
    assert parse_time(written, "t") == micros * 1000


@given(text=st.one_of(st.text(), st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?\S{0,6}")))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    error = refusal(parse_time, text, "since")
    assert error is None or (error.param, error.message[:7]) == ("since", "since: ")


@pytest.mark.parametrize("text", ["2026-01-01T12:30.5", "2026-01-01T12Z", "2026-01-01Z", "12:30"])
def test_a_part_of_a_time_is_none(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_time(text, "t")


# ---------------------------------------------------------------- queries

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=","), min_size=1)
keys = st.lists(names.map(str.strip).filter(bool), max_size=4).map(tuple)
queries = st.builds(
    SnapshotQuery,
    global_step_from=st.none() | int64,
    global_step_to=st.none() | int64,
    logged_at_from=st.none() | int64,
    logged_at_to=st.none() | int64,
    resolution=st.none() | int64,
    sampling=st.sampled_from(["uniform", "minmax"]),
    attempt=st.none() | st.just("all") | st.integers(1, INT64_MAX),
    keys=keys,
    after=st.none() | st.integers(0, 10**18 - 1).map(str),
    nonfinite=st.sampled_from(["omit", "null", "string"]),
)


@given(query=queries)
def test_a_query_comes_back_from_its_parameters(query: SnapshotQuery) -> None:
    assert parse_query(query_parameters(query).items()) == query


@given(query=queries)
def test_a_query_comes_back_from_a_json_body(query: SnapshotQuery) -> None:
    fields: dict[str, Any] = dict(query_parameters(query))
    for name in ("global_step_from", "global_step_to", "resolution", "attempt"):
        if getattr(query, name) is not None:
            fields[name] = getattr(query, name)
    if query.keys:
        fields["keys"] = list(query.keys)
    assert parse_query([], json.dumps(fields).encode()) == query
    assert parse_jobs_query(json.dumps({**fields, "jobs": ["a", "b", "a"]}).encode(), 3) == (
        ["a", "b"],
        query,
    )


@given(above=queries, below=queries)
def test_the_query_string_wins_over_the_body(above: SnapshotQuery, below: SnapshotQuery) -> None:
    upper, lower = query_parameters(above), query_parameters(below)
    lower = {
        name: value for name, value in lower.items() if not isinstance(getattr(below, name), int)
    }
    merged = parse_query({**lower, **upper}.items())
    assert parse_query(upper.items(), json.dumps(lower).encode()) == merged


json_values = st.recursive(
    st.none() | st.booleans() | int64 | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
parameters = st.sampled_from(list(SnapshotQuery.__struct_fields__)) | st.text(max_size=5)


@given(pairs=st.lists(st.tuples(parameters, st.text(max_size=30)), max_size=4))
def test_no_query_string_does_more_than_be_refused(pairs: list[tuple[str, str]]) -> None:
    error = refusal(parse_query, pairs)
    assert error is None or error.param in dict(pairs)


@given(fields=st.dictionaries(parameters, json_values, max_size=4))
def test_no_json_body_does_more_than_be_refused(fields: dict[str, Any]) -> None:
    error = refusal(parse_query, [], json.dumps(fields).encode())
    assert error is None or error.message


# ---------------------------------------------------------------- batches

metric_names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12
).filter(lambda name: name not in (STEP, TIMESTAMP, "train/nonfinite", "eval/nonfinite"))
numbers = st.one_of(
    st.floats(), int64, st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1, -0.0])
)
metrics = st.dictionaries(
    st.one_of(st.sampled_from(["train/loss", "eval/loss", "null", "a", 'q"\\']), metric_names),
    numbers,
    max_size=5,
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    logged = draw(metrics)
    kind = "eval" if any(name.startswith("eval/") for name in logged) else "train"
    moment, step = draw(st.integers(0, INT64_MAX)), draw(st.integers(0, INT64_MAX))
    return Snapshot(kind, step, moment, logged)  # type: ignore[arg-type]


batches = st.builds(
    Batch,
    snapshots=st.lists(snapshots(), max_size=6),
    attempt=st.none() | st.integers(1, 2**31 - 1),
    writer=st.integers(0, 2**31 - 1),
    first_seq=st.none() | st.integers(0, MAX_FIRST_SEQ),
)


@given(batch=batches)
def test_a_batch_comes_back_bit_for_bit(batch: Batch) -> None:
    """Compared as text, in which NaN is NaN, 7 is not 7.0, and keys keep their order."""
    body = encode_batch(batch)
    json.loads(body, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))
    assert repr(decode_batch(body, {}, Limits(), NOW)) == repr(batch)
    lines = b"\n".join(exact or line for line, exact in encode_snapshots(batch.snapshots))
    given_fields = {
        "attempt": batch.attempt,
        "writer": batch.writer,
        "first_seq": batch.first_seq,
    }
    assert repr(decode_ndjson_batch(lines, given_fields, Limits(), NOW)) == repr(batch)


@given(snapshot=snapshots())
def test_a_stored_line_is_a_row_of_numbers_and_tells_what_it_leaves_out(
    snapshot: Snapshot,
) -> None:
    ((line, exact),) = encode_snapshots([snapshot])
    finite = {name: value for name, value in snapshot.values.items() if math.isfinite(value)}
    missing = len(snapshot.values) - len(finite)
    row: Mapping[str, Any] = json.loads(line)
    count = {f"{snapshot.kind}/nonfinite": missing} if missing else {}
    base = {TIMESTAMP: snapshot.logged_at, STEP: snapshot.global_step}
    assert list(row.items()) == list({**base, **finite, **count}.items())
    assert (exact is None) == (missing == 0)
    assert repr(decode_values(line, exact)) == repr(snapshot.values)


number_texts = st.one_of(
    st.from_regex(r"\A-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?\Z"),
    st.sampled_from(["-0", "-0.0", "1e-400", "4.9e-324", "1E5", "9007199254740993", "1e22"]),
)


@given(text=number_texts)
def test_a_number_means_the_same_whatever_stands_beside_it(text: str) -> None:
    """Batches of finite numbers take a quicker way, which must lead to the same place."""

    def value(also: str) -> int | float | str:
        body = f'{{"metrics": [{{"{STEP}": 1, "a": {text}}}{also}]}}'.encode()
        try:
            (first, *_) = decode_batch(body, {}, Limits(), NOW).snapshots
        except InvalidRequest as error:
            return error.message
        return first.values["a"]

    assert repr(value("")) == repr(value(f', {{"{STEP}": 2, "b": "NaN"}}'))
    meant = json.loads(text)
    assume(not isinstance(meant, float) or math.isfinite(meant))
    assume(not isinstance(meant, int) or INT64_MIN <= meant <= INT64_MAX)
    assert repr(value("")) == repr(meant)


@given(
    rows=st.lists(
        json_values
        | st.dictionaries(st.sampled_from([STEP, TIMESTAMP, "a", "", "\0"]), json_values)
    )
)
def test_no_rows_do_more_than_be_refused(rows: list[Any]) -> None:
    body = json.dumps({"metrics": rows}).encode()
    lines = b"\n".join(json.dumps(row).encode() for row in rows)
    for decode, text in ((decode_batch, body), (decode_ndjson_batch, lines)):
        error = refusal(decode, text, {}, Limits(), NOW)
        assert error is None or error.message.startswith("row ")


@given(body=st.binary())
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    for decode in (decode_batch, decode_ndjson_batch):
        error = refusal(decode, body, {}, Limits(), NOW)
        assert error is None or error.message


def test_blanks_are_no_json_and_nothing_is_an_attempt_of_which_nothing_is_said() -> None:
    assert parse_attempt(b"") == (None, None)
    with pytest.raises(InvalidRequest, match="bad JSON body"):
        parse_attempt(b"\n")
