"""Database and tables: making them on every server, and looking whether they are ours."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import msgspec
from msgspec import Struct

from tunelog.backends.clickhouse import records
from tunelog.backends.clickhouse.address import Address
from tunelog.backends.clickhouse.node import Node, NodeDown, NodeError, quote
from tunelog.backends.clickhouse.records import Kind, Record
from tunelog.backends.clickhouse.shard import Shard, refuse_if_hopeless
from tunelog.errors import StoreUnavailable, StoreUnusable

LAYOUT: Final = 1
"""The version of the tables. A change of them gets the next number and a migration."""

OLDEST: Final = (18, 12)
"""The first ClickHouse that has all we use."""

FSYNC: Final = (20, 10)
"""From this version on, a table can be told to fsync what is inserted."""

APART_SECONDS: Final = 5.0
"""So far the clocks of the service and of a server may be apart."""

_SNAPSHOT = (
    "job UInt64, kind UInt8, attempt UInt32, writer UInt32, seq Int64, logged_at Int64, step Int64,"
    " shape UInt64, arrival UInt64, line String, exact String"
)
_RECORD = "kind UInt8, job UInt64, id String, version UInt64, body String"
TABLES: Final = {
    "snapshot": (_SNAPSHOT, "arrival", "job, kind, attempt, writer, seq", 1024),
    "record": (_RECORD, "version", "kind, job, id", 256),
}
"""Of each table: its columns, which of several rows of one key counts (the greatest), the key, and
how many rows a mark of its index stands for: few, as most reads want a few rows."""


class Meta(Struct, frozen=True):
    """What a shard says of itself, so that a list of shards in another order is noticed."""

    layout: int
    cluster: str
    shard: int
    shards: int


def migrate(address: Address, shards: Sequence[Shard]) -> str:
    """Make the database and the tables wherever they are missing; say in words what is there now.

    Safe to run from several processes at once, and again.

    Raises:
        StoreUnavailable: a server is away; every one must be there for this.
        StoreUnusable: a server is too old, or has other tables under these names.
    """
    for node in (node for shard in shards for node in shard.nodes):
        with plainly():
            check_version(node)
            node.query(f"CREATE DATABASE IF NOT EXISTS `{address.database}`", database="")
    for at, shard in enumerate(shards, 1):
        for replica, node in enumerate(shard.nodes, 1):
            with plainly():
                _create_tables(node, at, replica, len(shard.nodes))
                check_tables(node)
        wanted = Meta(LAYOUT, _cluster(address), at, len(shards))
        if (found := _meta(shard)) is None:
            _tell(shard, wanted)
        else:
            compare(found, wanted)
    replicas = f"{address.replicas} replica{'s' * (address.replicas > 1)}"
    return f"layout {LAYOUT}; shards: {len(shards)}, of {replicas} each"


def check(address: Address, shards: Sequence[Shard]) -> None:
    """Return if the tables are those that a URL tells of, as far as the servers can be reached.

    Raises:
        StoreUnavailable: a shard of which no server can be reached.
        StoreUnusable: the store cannot be used as it stands; says why and what to do.
    """
    for at, shard in enumerate(shards, 1):
        for node in shard.nodes:
            with plainly(), suppress(NodeDown):
                check_version(node)
                check_clock(node)
                check_tables(node)
        found = _meta(shard)
        if found is None:
            raise StoreUnusable(
                f"shard {at} was never set up; `tunelog migrate --store URL` does that"
            )
        compare(found, Meta(LAYOUT, found.cluster, at, len(shards)))
        if at == 1:
            cluster = found.cluster
        elif found.cluster != cluster:
            raise StoreUnusable(f"shard {at} belongs to another cluster than shard 1")


def check_version(node: Node) -> None:
    """`StoreUnusable` if a server is too old."""
    if node.version < OLDEST:
        have, want = (".".join(map(str, version)) for version in (node.version, OLDEST))
        raise StoreUnusable(f"ClickHouse at {node.name} is {have}; {want} or newer is wanted")


def check_clock(node: Node) -> float:
    """How far a server's clock is before ours; `StoreUnusable` if that is too far."""
    apart = seconds_apart(node)
    if abs(apart) > APART_SECONDS:
        raise StoreUnusable(
            f"the clock of ClickHouse at {node.name} is {apart:+.0f} s from this machine's, at most"
            f" {APART_SECONDS:.0f} are allowed; set both right (NTP) and start again"
        )
    return apart


def seconds_apart(node: Node) -> float:
    """How far a server's clock is before ours, to a second."""
    began = time.time()
    told = int(node.query("SELECT toUnixTimestamp(now())", database=""))
    ended = time.time()
    if told + 1 < began:  # it tells whole seconds, rounded down
        return told + 1 - began
    return max(0.0, told - ended)


def check_tables(node: Node) -> None:
    """`StoreUnusable` if a server lacks a table, or has another of its name."""
    for table, (columns, *_) in TABLES.items():
        answer = node.query(
            "SELECT name, type FROM system.columns WHERE database ="
            f" {quote(node.database)} AND table = {quote(table)} FORMAT TabSeparatedRaw"
        )
        found = ", ".join(" ".join(line.split("\t")) for line in answer.decode().splitlines())
        if not found:
            raise StoreUnusable(
                f"ClickHouse at {node.name} has no table {table} in database {node.database};"
                " `tunelog migrate --store URL` makes it"
            )
        if found != columns:
            raise StoreUnusable(
                f"ClickHouse at {node.name} has another table {table} in database {node.database}"
                f" than layout {LAYOUT} of tunelog ({found}); choose another database, or a tunelog"
                " that knows it"
            )


@contextmanager
def plainly() -> Iterator[None]:
    """What a server says or does not say, as the errors of a store."""
    try:
        yield
    except NodeDown as error:
        raise StoreUnavailable(f"ClickHouse: {error}") from error
    except NodeError as error:
        refuse_if_hopeless(error)
        raise StoreUnavailable(f"ClickHouse: {error}") from error


def _create_tables(node: Node, shard: int, replica: int, replicas: int) -> None:
    for table, (columns, version, key, granularity) in TABLES.items():
        engine = f"ReplacingMergeTree({version})"
        if replicas > 1:
            path = quote(f"/clickhouse/tunelog/{node.database}/{shard}/{table}")
            engine = f"ReplicatedReplacingMergeTree({path}, 'r{replica}', {version})"
        settings = f"index_granularity = {granularity}"
        if replicas > 1:
            settings += (
                ", replicated_deduplication_window = 10000,"
                " replicated_deduplication_window_seconds = 3600"
            )
        if node.version >= FSYNC:
            settings += ", fsync_after_insert = 1, fsync_part_directory = 1"
        node.query(
            f"CREATE TABLE IF NOT EXISTS {table} ({columns}) ENGINE = {engine}"
            f" ORDER BY ({key}) SETTINGS {settings}"
        )


def _cluster(address: Address) -> str:
    """A name for the cluster, the same in every process that sets it up with one URL."""
    return f"{records.number(*address.origins, address.database):016x}"


def _meta(shard: Shard) -> Meta | None:
    found = shard.records(f"kind = {Kind.META:d} AND job = 0 AND id = 'shard'")
    return msgspec.json.decode(found[0].body, type=Meta) if found else None


def _tell(shard: Shard, meta: Meta) -> None:
    version = (meta.layout << 32) + random.getrandbits(32)  # no two processes write the same block
    shard.keep([Record(Kind.META, 0, "shard", version, msgspec.json.encode(meta))])


def compare(found: Meta, wanted: Meta) -> None:
    """`StoreUnusable` if a shard is of a newer layout, or another shard than its place says."""
    if found.layout > wanted.layout:
        raise StoreUnusable(
            f"the store has layout {found.layout}, newer than {wanted.layout}, the newest that this"
            " tunelog knows; use the tunelog that wrote it"
        )
    if (found.shard, found.shards) != (wanted.shard, wanted.shards):
        raise StoreUnusable(
            f"the servers listed as shard {wanted.shard} of {wanted.shards} hold shard"
            f" {found.shard} of {found.shards}; list the same shards in the same order as when the"
            " store was set up (`tunelog move` takes the data to a store of other shards)"
        )
