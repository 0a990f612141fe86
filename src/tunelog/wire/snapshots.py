"""Rows <-> snapshots: what a writer sends, what is stored, what a reader is shown.

A row is a flat JSON object: `timestamp`, `train/global_step`, then the metrics. A stored snapshot
is two texts: its *line*, the row in the default form (non-finite values left out and counted), and,
only if it has non-finite values, its *exact* line with these as strings.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from tunelog.errors import InvalidRequest, LimitExceeded
from tunelog.model import (
    INT64_MAX,
    INT64_MIN,
    ROW_SEPARATOR,
    Batch,
    Int64,
    Kind,
    Receipt,
    Snapshot,
    SnapshotQuery,
)

STEP = "train/global_step"
TIMESTAMP = "timestamp"
COUNTS: Mapping[Kind, str] = {"train": "train/nonfinite", "eval": "eval/nonfinite"}

MAX_FIRST_SEQ = 2**61
"""Far enough below the store's own numbers that no batch reaches them."""

NONFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_RESERVED = frozenset(COUNTS.values())
_BASE = frozenset({STEP, TIMESTAMP})
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_encoder = msgspec.json.Encoder()


class Limits(Struct, frozen=True, kw_only=True):
    """How large a batch may be; see `config.Settings`."""

    max_batch_rows: int = 100_000
    max_row_keys: int = 10_000
    max_key_length: int = 512


class _Body(Struct):
    """A batch of finite numbers, the common case, validated while it is parsed."""

    metrics: list[dict[str, Int64 | float]]
    attempt: Int64 | None = None
    writer: Int64 | None = None
    first_seq: Int64 | None = None


_decode_finite = msgspec.json.Decoder(_Body).decode
_decode_finite_row = msgspec.json.Decoder(dict[str, Int64 | float]).decode


# ---------------------------------------------------------------- in


class RowReader:
    """Turns rows into snapshots, refusing what a row must not hold.

    Key sets repeat from row to row, so each is looked at once and remembered.
    """

    def __init__(self, limits: Limits, now: int) -> None:
        """`now` (nanoseconds) is the `logged_at` of rows without a timestamp."""
        self._limits = limits
        self._now = now
        self._kinds: dict[tuple[str, ...], tuple[Kind, bool]] = {}

    def snapshot(self, row: dict[str, Any], index: int) -> Snapshot:
        """The snapshot of a row whose values are numbers already; takes `row` apart."""
        keys = tuple(row)
        known = self._kinds.get(keys)
        if known is None:
            known = self._kinds[keys] = self._look_at(keys, index)
        kind, has_counts = known
        step = row.pop(STEP)
        if type(step) is not int or step < 0:
            step = _whole(step, STEP, index)
        logged_at = row.pop(TIMESTAMP, None)
        if logged_at is None:
            logged_at = self._now
        elif type(logged_at) is not int or logged_at < 0:
            logged_at = _whole(logged_at, TIMESTAMP, index)
        if has_counts:
            for name in _RESERVED:
                row.pop(name, None)
        return Snapshot(kind, step, logged_at, row)

    def any_snapshot(self, row: Any, index: int) -> Snapshot:
        """The snapshot of any JSON value, or an error that says what is wrong with it."""
        if not isinstance(row, dict):
            raise InvalidRequest(f"row {index}: {_noun(row)} where an object belongs")
        values = {
            key: 0 if key in _RESERVED else _number(value, key, index) for key, value in row.items()
        }
        for key in _BASE & values.keys():
            values[key] = _whole(values[key], key, index)
        return self.snapshot(values, index)

    def _look_at(self, keys: tuple[str, ...], index: int) -> tuple[Kind, bool]:
        limits = self._limits
        if len(keys) > limits.max_row_keys:
            raise InvalidRequest(
                f"row {index}: {len(keys)} keys, more than the {limits.max_row_keys} allowed"
            )
        for key in keys:
            if not key:
                raise InvalidRequest(f"row {index}: an empty key")
            if len(key) > limits.max_key_length:
                raise InvalidRequest(
                    f"row {index}: key {key[:40]!r}… has {len(key)} characters, "
                    f"more than the {limits.max_key_length} allowed"
                )
            if _CONTROL.search(key):
                raise InvalidRequest(f"row {index}: key {key!r} has a control character")
        if STEP not in keys:
            raise InvalidRequest(f"row {index}: {STEP} is missing", param=STEP)
        kind: Kind = "eval" if any(key.startswith("eval/") for key in keys) else "train"
        return kind, any(name in keys for name in _RESERVED)


def decode_batch(body: bytes, given: Mapping[str, int | None], limits: Limits, now: int) -> Batch:
    """A batch from a JSON body; `given` stands for fields that the body lacks.

    Raises:
        InvalidRequest: naming row, key and reason.
    """
    reader = RowReader(limits, now)
    try:
        parsed = _decode_finite(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        fields = _object(_loads(body, ""))
        rows = fields.get("metrics")
        if not isinstance(rows, list):
            raise InvalidRequest("metrics: an array of rows is required", param="metrics") from None
        _check_rows(len(rows), limits)
        snapshots = [reader.any_snapshot(row, i) for i, row in enumerate(rows)]
        return _batch(snapshots, fields, given)
    _check_rows(len(parsed.metrics), limits)
    snapshots = [reader.snapshot(row, i) for i, row in enumerate(parsed.metrics)]
    return _batch(snapshots, msgspec.structs.asdict(parsed), given)


def decode_ndjson_batch(
    body: bytes, fields: Mapping[str, int | None], limits: Limits, now: int
) -> Batch:
    """A batch from NDJSON, one row a line; blank lines are skipped."""
    reader = RowReader(limits, now)
    lines = [line for line in body.split(b"\n") if line.strip()]
    _check_rows(len(lines), limits)
    snapshots = []
    for index, line in enumerate(lines):
        try:
            snapshots.append(reader.snapshot(_decode_finite_row(line), index))
        except (msgspec.DecodeError, ValueError, RecursionError):
            snapshots.append(reader.any_snapshot(_loads(line, f"row {index}: "), index))
    return _batch(snapshots, {}, fields)


def loads(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises `InvalidRequest` "bad JSON body" for anything else.

    Bare NaN tokens, numbers beyond double and halves of surrogate pairs are not JSON here.
    """
    try:
        return _object(msgspec.json.decode(body))
    except RecursionError:
        raise InvalidRequest("bad JSON body: nested too deeply") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidRequest(f"bad JSON body: {error}") from None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(f"bad JSON body: {_noun(value)} where an object belongs")
    return value


class _BareToken:
    """Stands for NaN or Infinity written as a bare token, which JSON does not have."""

    def __init__(self, token: str) -> None:
        self.token = token


def _loads(text: bytes, where: str) -> Any:
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_BareToken, parse_int=_parsed_int)
    except RecursionError:
        raise InvalidRequest(f"{where}bad JSON body: nested too deeply") from None
    except ValueError as error:
        raise InvalidRequest(f"{where}bad JSON body: {error}") from None


def _parsed_int(digits: str) -> int:
    """An integer; one so long that Python refuses to read it is beyond int64 all the same."""
    return int(digits) if len(digits) <= 1000 else INT64_MAX + 1


def _check_rows(count: int, limits: Limits) -> None:
    if count > limits.max_batch_rows:
        raise LimitExceeded(
            f"{count} rows in a batch, more than the {limits.max_batch_rows} allowed"
        )


def _batch(
    snapshots: Sequence[Snapshot], fields: Mapping[str, Any], given: Mapping[str, int | None]
) -> Batch:
    def field(name: str, least: int, most: int) -> int | None:
        value = fields.get(name)
        return whole_field(given.get(name) if value is None else value, name, least, most)

    return Batch(
        snapshots=snapshots,
        attempt=field("attempt", 1, 2**31 - 1),
        writer=field("writer", 0, 2**31 - 1) or 0,
        first_seq=field("first_seq", 0, MAX_FIRST_SEQ),
    )


def whole_field(value: Any, name: str, least: int, most: int) -> int | None:
    """A whole number of a JSON body within bounds, None if it is absent or null."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise InvalidRequest(f"{name}: a whole number from {least} to {most} is wanted", param=name)
    return value


def _number(value: Any, key: str, index: int) -> int | float:
    kind = type(value)
    if kind is float:
        if math.isinf(value):
            _refuse(key, index, "a number beyond double")
        return float(value)
    if kind is int:
        if not INT64_MIN <= value <= INT64_MAX:
            _refuse(key, index, "an integer beyond int64")
        return int(value)
    if kind is str and value in NONFINITE:
        return NONFINITE[value]
    if kind is _BareToken:
        _refuse(key, index, f'the bare token {value.token}; write it as the string "{value.token}"')
    return _refuse(key, index, f"{_noun(value)}; a number is wanted")


def _whole(value: int | float, key: str, index: int) -> int:
    if isinstance(value, float):
        if not value.is_integer():
            _refuse(key, index, f"{value} is not a whole number")
        value = int(value)
    if value < 0:
        _refuse(key, index, f"{value} is negative")
    if value > INT64_MAX:
        _refuse(key, index, f"{value} is beyond int64")
    return value


def _refuse(key: str, index: int, reason: str) -> NoReturn:
    raise InvalidRequest(f"row {index}: key {key!r}: {reason}", param=key)


def _noun(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    names = {bool: "a boolean", dict: "an object", list: "an array", _BareToken: "a bare token"}
    return names.get(type(value), f"the number {value!r}")


# ---------------------------------------------------------------- stored


def encode_snapshots(snapshots: Sequence[Snapshot]) -> list[tuple[bytes, bytes | None]]:
    """The (line, exact) of each snapshot; exact is None unless it has non-finite values."""
    if not snapshots:
        return []
    rows: list[dict[str, Any]] = [
        {TIMESTAMP: s.logged_at, STEP: s.global_step, **s.values, **_sign_of_kind(s)}
        for s in snapshots
    ]
    text = _encoder.encode_lines(rows)
    lines = text.split(b"\n")
    if b"null" not in text:  # msgspec writes NaN and infinities as null, and nothing else
        return [(line, None) for line in lines[:-1]]
    return [
        _encode_row(row, snapshot.kind) if b"null" in line else (line, None)
        for row, line, snapshot in zip(rows, lines, snapshots, strict=False)
    ]


def _sign_of_kind(snapshot: Snapshot) -> Mapping[str, int]:
    """What an eval snapshot without any `eval/` key bears, so that it stays one when it is read.

    There are such: of a row that was read back, the values left out are gone, and their count,
    which said that it is of eval, with them.
    """
    if snapshot.kind == "train" or any(key.startswith("eval/") for key in snapshot.values):
        return {}
    return {COUNTS["eval"]: 0}


def _encode_row(row: dict[str, Any], kind: Kind) -> tuple[bytes, bytes | None]:
    finite = {key: value for key, value in row.items() if math.isfinite(value)}
    missing = len(row) - len(finite)
    if not missing:
        return _encoder.encode(row), None
    exact = {
        key: value if math.isfinite(value) else nonfinite_word(value) for key, value in row.items()
    }
    finite[COUNTS[kind]] = missing
    return _encoder.encode(finite), _encoder.encode(exact)


def nonfinite_word(value: float) -> str:
    """How JSON says a value that it has no word for: NaN, Infinity or -Infinity."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


# ---------------------------------------------------------------- out


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a metric's name is among names and globs."""
    names, globs = set(), []
    for pattern in patterns:
        names.add(pattern)
        if any(mark in pattern for mark in "*?["):
            globs.append(re.compile(fnmatch.translate(pattern)))
    return lambda name: name in names or any(glob.match(name) for glob in globs)


def keeps_every_row(patterns: Iterable[str]) -> bool:
    """Whether `keys` names something that every row has."""
    return not _BASE.isdisjoint(patterns)


class Renderer:
    """How stored snapshots are shown under a query that does not show their lines as they are."""

    def __init__(self, query: SnapshotQuery) -> None:
        self._query = query
        self._selected = matcher(query.keys) if query.keys else None
        self._kept: dict[tuple[str, ...], list[str]] = {}

    def one(self, line: bytes, exact: bytes | None) -> bytes:
        """A snapshot, from its line and, if it has non-finite values, the exact one."""
        if exact is None:
            return line if self._selected is None else self.many(line)
        if self._selected is None and self._query.nonfinite == "string":
            return exact
        row = self._keep(msgspec.json.decode(exact))
        return _encoder.encode(_show(row, self._query, line))

    def many(self, lines: bytes) -> bytes:
        """Snapshots without non-finite values, `ROW_SEPARATOR` between two."""
        if self._selected is None:
            return lines
        rows = map(self._keep, msgspec.json.decode(b"[" + lines + b"]"))
        return _encoder.encode_lines(rows)[:-1].replace(b"\n", ROW_SEPARATOR)

    def _keep(self, row: dict[str, Any]) -> dict[str, Any]:
        """What of a row is selected; which keys is worked out once for each set of them."""
        if self._selected is None:
            return row
        keys = tuple(row)
        kept = self._kept.get(keys)
        if kept is None:
            kept = [key for key in keys if key in _BASE or self._selected(key)]
            self._kept[keys] = kept
        return {key: row[key] for key in kept}


def renderer(query: SnapshotQuery) -> Renderer | None:
    """How snapshots are shown under a query; None if their lines are shown as they are."""
    return Renderer(query) if query.keys or query.nonfinite != "omit" else None


def _show(row: dict[str, Any], query: SnapshotQuery, line: bytes) -> dict[str, Any]:
    if query.nonfinite == "string":
        return row
    if query.nonfinite == "null":
        return {key: None if isinstance(value, str) else value for key, value in row.items()}
    shown = {key: value for key, value in row.items() if not isinstance(value, str)}
    if len(shown) < len(row):
        counts = msgspec.json.decode(line).keys() & _RESERVED
        shown[counts.pop()] = len(row) - len(shown)
    return shown


def decode_values(line: bytes, exact: bytes | None) -> dict[str, int | float]:
    """The metrics of a stored snapshot, non-finite ones as floats, without step and timestamp."""
    row: dict[str, Any] = msgspec.json.decode(line if exact is None else exact)
    del row[TIMESTAMP], row[STEP]
    for count in _RESERVED:
        row.pop(count, None)
    if exact is not None:
        for key, value in row.items():
            if isinstance(value, str):
                row[key] = NONFINITE[value]
    return row


ValuesDecoder = Callable[[bytes], list[tuple[int | float | None, ...]]]
"""Decodes lines, `ROW_SEPARATOR` between two, to the values of some metrics, a tuple a line."""


def values_decoder(keys: Sequence[str]) -> ValuesDecoder:
    """A decoder of the values of these metrics, None where a line has none or it is not finite."""
    names = {f"value{i}": key for i, key in enumerate(keys)}
    fields: list[tuple[str, Any, Any]] = [(name, int | float | None, None) for name in names]
    row = msgspec.defstruct("Values", fields, rename=names, gc=False)
    decode = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]
    return lambda lines: list(map(msgspec.structs.astuple, decode(b"[" + lines + b"]")))


# ---------------------------------------------------------------- a client's side


def encode_batch(batch: Batch) -> bytes:
    """The JSON body that stores a batch."""
    rows = [exact or line for line, exact in encode_snapshots(batch.snapshots)]
    fields = {"attempt": batch.attempt, "writer": batch.writer, "first_seq": batch.first_seq}
    head = _encoder.encode({name: value for name, value in fields.items() if value is not None})
    return head[:-1] + b',"metrics":[' + b",".join(rows) + b"]}"


_decode_receipt = msgspec.json.Decoder(Receipt).decode


def decode_receipt(body: bytes) -> Receipt:
    """The receipt that a service sent."""
    return _decode_receipt(body)
