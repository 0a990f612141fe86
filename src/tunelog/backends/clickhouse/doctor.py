"""Whether all is well with the servers of a store: what `tunelog doctor` looks at.

Each server is asked by itself, whatever the others say, and is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Final

import msgspec
from msgspec import Struct

from tunelog.backends.clickhouse import MOST_BATCH_ROWS, address, records, schema
from tunelog.backends.clickhouse.node import Node, quote
from tunelog.backends.clickhouse.records import Kind
from tunelog.backends.clickhouse.schema import Meta
from tunelog.errors import StoreError

ANSWER_SECONDS: Final = 5.0
"""A server that says nothing for so long is away."""

LAG_SECONDS: Final = 30
"""A replica that is so far behind the others is no second copy."""

FETCH_SECONDS: Final = 60
"""A server that waits longer for what it fetches of another is held up by one that hangs."""

FREE_PART: Final = 0.1
"""A disk that has less of it free is nearly full: a merge needs room beside what it merges."""


class Finding(Struct, frozen=True):
    """What one look at one server showed.

    Attributes:
        look: what was looked at, one of `LOOKS`.
        found: what is the case, in a word or two; empty if it could not be seen.
        wrong: what is wrong about it and what to do; empty if it is well.
    """

    look: str
    found: str = ""
    wrong: str = ""


class Examined(Struct, frozen=True):
    """A server and what was found there.

    Attributes:
        shard: the number of its shard, from 1.
        server: `host:port`.
        findings: one for each look, up to the first that leaves nothing to look at.
    """

    shard: int
    server: str
    findings: tuple[Finding, ...]


class Patient(Struct, frozen=True):
    """A server that is looked at.

    Attributes:
        node: to ask it.
        shard, shards: the number of its shard, and of how many, after the store's URL.
        replicas: how many servers the URL lists for a shard.
        clusters: which clusters the servers before it said that they are of.
    """

    node: Node
    shard: int
    shards: int
    replicas: int
    clusters: list[str]

    def ask(self, sql: str) -> list[list[str]]:
        """The rows of an answer about the server, whether or not it has our database."""
        answer = self.node.query(
            f"{sql} FORMAT TabSeparatedRaw", database="", seconds=ANSWER_SECONDS
        )
        return [line.split("\t") for line in answer.decode().splitlines()]

    def replication(self, *columns: str) -> list[int]:
        """Sums over our tables of columns of `system.replicas`; all 0 if none is replicated."""
        tables = ", ".join(map(quote, schema.TABLES))
        rows = self.ask(
            f"SELECT {', '.join(columns)} FROM system.replicas"
            f" WHERE database = {quote(self.node.database)} AND table IN ({tables})"
        )
        return [int(value) for value in rows[0]]

    def complain(self, found: str, wrong: str) -> Complaint:
        """What is the case here, and what is wrong about it."""
        return Complaint(found, f"{self.node.name}: {wrong}")


class Complaint(Exception):  # noqa: N818 - named for what it is
    """Something is the case that should not be."""

    def __init__(self, found: str, wrong: str) -> None:
        super().__init__(wrong)
        self.found = found


def examine(url: str) -> Iterator[Examined]:
    """Look at every server of a store URL, one after another, shard by shard.

    Raises:
        InvalidRequest: the URL cannot be understood.
    """
    place = address.parse(url)
    clusters: list[str] = []
    for shard, origins in enumerate(place.shards, 1):
        for origin in origins:
            with closing(Node(origin, place.user, place.password, place.database)) as node:
                patient = Patient(node, shard, len(place.shards), place.replicas, clusters)
                yield Examined(shard, node.name, tuple(_findings(patient)))


def _findings(patient: Patient) -> Iterator[Finding]:
    for name in LOOKS:
        finding = _look(patient, name)
        yield finding
        if finding.wrong and name in _DECISIVE:
            return


def _look(patient: Patient, name: str) -> Finding:
    try:
        with schema.plainly():
            return Finding(name, LOOKS[name](patient))
    except Complaint as complaint:
        return Finding(name, complaint.found, str(complaint))
    except StoreError as error:
        return Finding(name, wrong=error.message)


# ---------------------------------------------------------------- looks


def _version(patient: Patient) -> str:
    [[told]] = patient.ask("SELECT version()")
    schema.check_version(patient.node)
    return told


def _clock(patient: Patient) -> str:
    return f"{round(schema.check_clock(patient.node)):+d} s"


def _settings(patient: Patient) -> str:
    rows = patient.ask(
        "SELECT name, value FROM system.settings WHERE name LIKE '%overflow_mode'"
        " OR name IN ('readonly', 'max_insert_block_size', 'http_send_timeout',"
        " 'http_receive_timeout')"
    )
    wrong = unfit(dict(rows), patient.replicas)
    if wrong:
        raise patient.complain("unfit", "; ".join(wrong))
    return "fit"


def unfit(settings: Mapping[str, str], replicas: int) -> list[str]:
    """What is wrong about the settings of a user on a server that is one of so many replicas."""
    wrong = []
    if settings["readonly"] != "0":
        wrong.append(f"readonly = {settings['readonly']}, so nothing can be written")
    if int(settings["max_insert_block_size"]) < MOST_BATCH_ROWS:
        wrong.append(
            f"max_insert_block_size = {settings['max_insert_block_size']}, so a batch could be"
            f" stored in part; set {MOST_BATCH_ROWS} or more"
        )
    waits = "http_send_timeout", "http_receive_timeout"
    if replicas > 1 and max(int(settings[name]) for name in waits) > FETCH_SECONDS:
        wrong.append(
            f"{' and '.join(f'{name} = {settings[name]}' for name in waits)}, so a replica that"
            " hangs would hold up for so long the others that fetch from it; set both to 10 in the"
            " default profile"
        )
    wrong += [
        f"{name} = break, so an answer could lack its end; set throw"
        for name, value in settings.items()
        if name.endswith("overflow_mode") and value == "break"
    ]
    return wrong


def _disk(patient: Patient) -> str:
    told = patient.ask("SELECT 1 FROM system.tables WHERE database = 'system' AND name = 'disks'")
    if not told:  # before ClickHouse 19.15
        return "not told"
    rows = patient.ask("SELECT name, free_space, total_space FROM system.disks")
    free, total, name = min((int(free), int(total), name) for name, free, total in rows)
    found = f"{free / 1e9:,.0f} GB free"
    if free < FREE_PART * total:
        raise patient.complain(found, f"disk {name!r} is nearly full; make room")
    return found


def _session(patient: Patient) -> str:
    tables, expired, readonly = patient.replication(
        "count()", "sum(is_session_expired)", "sum(is_readonly)"
    )
    if not tables:
        return "none wanted"
    if expired or readonly:
        raise patient.complain(
            "lost" if expired else "read-only",
            "it takes no writes: it has no session with ZooKeeper or Keeper, or found its tables"
            " damaged; its log says which",
        )
    return "well"


def _tables(patient: Patient) -> str:
    schema.check_tables(patient.node)
    sql = records.select(f"kind = {Kind.META:d} AND job = 0")
    found = records.decode(patient.node.query(sql, seconds=ANSWER_SECONDS))
    if not found:
        raise patient.complain(
            "empty", "it was never set up; `tunelog migrate --store URL` does that"
        )
    meta = msgspec.json.decode(found[0].body, type=Meta)
    schema.compare(meta, Meta(schema.LAYOUT, meta.cluster, patient.shard, patient.shards))
    patient.clusters.append(meta.cluster)
    if meta.cluster != patient.clusters[0]:
        raise patient.complain("another's", "it belongs to another cluster than the first server")
    return f"layout {meta.layout}"


def _replicas(patient: Patient) -> str:
    total, active = patient.replication("min(total_replicas)", "min(active_replicas)")
    if (total or 1) != patient.replicas:
        kept = f"with {total} replicas" if total else "alone, not replicated"
        raise patient.complain(
            str(total or 1),
            f"it keeps its tables {kept}, and the URL lists {patient.replicas} to a shard; list as"
            " many as there are",
        )
    if active < total:
        raise patient.complain(
            f"{active} of {total}", f"it sees {active} of {total} replicas; start the others"
        )
    return f"{active} of {total}" if total else "1"


def _lag(patient: Patient) -> str:
    seconds, waiting = patient.replication("max(absolute_delay)", "sum(queue_size)")
    if seconds > LAG_SECONDS:
        raise patient.complain(
            f"{seconds} s",
            f"it is {seconds} s behind its shard, and {waiting} parts wait to be fetched or merged;"
            " disk or network are slow, or its log says why",
        )
    return f"{seconds} s"


LOOKS: Final[dict[str, Callable[[Patient], str]]] = {
    "version": _version,
    "clock": _clock,
    "settings": _settings,
    "disk": _disk,
    "session": _session,
    "tables": _tables,
    "replicas": _replicas,
    "lag": _lag,
}
"""What is looked at on each server, in this order."""

_DECISIVE: Final = frozenset({"version", "session", "tables"})
"""If one of these is wrong, the looks after it would show nothing."""
