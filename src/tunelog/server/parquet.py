"""A reading as a Parquet file, a row group a chunk; needs pyarrow (the extra `parquet`)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from tunelog.errors import InvalidRequest
from tunelog.model import Column, Reading
from tunelog.server.answers import decoded_rows
from tunelog.wire.snapshots import STEP, TIMESTAMP


def parquet_rows(reading: Reading, columns: Sequence[Column]) -> Iterator[bytes]:
    """The bytes of the file, as they come.

    A metric of integers is int64, any other double; one that mixes floats with integers which a
    double cannot hold is text, so that nothing is rounded.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidRequest(
            'Parquet is not installed here: pip install "tunelog[parquet]"'
        ) from None
    types = {TIMESTAMP: "int64", STEP: "int64", **{c.name: _type(c) for c in columns}}
    schema = pyarrow.schema([(name, _arrow(pyarrow, kind)) for name, kind in types.items()])
    return _written(pyarrow, schema, types, reading)


def _written(pyarrow: Any, schema: Any, types: dict[str, str], reading: Reading) -> Iterator[bytes]:
    sink = _Sink()
    with pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for rows in decoded_rows(reading):
            columns = [
                pyarrow.array([_cell(row.get(name), kind) for row in rows], schema.field(name).type)
                for name, kind in types.items()
            ]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
            yield sink.taken()
    yield sink.taken()


def _type(column: Column) -> str:
    if column.has_float:
        return "text" if column.has_big_int else "double"
    return "int64"


def _arrow(pyarrow: Any, kind: str) -> Any:
    return {"int64": pyarrow.int64, "double": pyarrow.float64, "text": pyarrow.string}[kind]()


def _cell(value: int | float | str | None, kind: str) -> int | float | str | None:
    if value is None or kind == "int64":
        return value
    return float(value) if kind == "double" else str(value)


class _Sink(io.RawIOBase):
    """A file that gives away what was written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
