"""Having each replica get what only another has.

A server that loses ZooKeeper in the midst of an INSERT does not know whether the others will hear
of the block. ClickHouse 18.16 keeps it then and looks five minutes later; if ZooKeeper does not
know of it, it may lie there alone until the server starts anew. Whoever loads the job can neither
count that block in, as one replica alone has it, nor leave it out, as it may have been acknowledged
and the other copy been lost. So it inserts the same rows once more, for all.

The arrivals stay the same: whoever loads has written nothing yet, so no reader has passed them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tunelog.backends.clickhouse import records, rows
from tunelog.backends.clickhouse.filters import one_of
from tunelog.backends.clickhouse.node import Node
from tunelog.backends.clickhouse.planning import IDENTITY
from tunelog.backends.clickhouse.shard import Shard

MOST_ROWS: Final = 200_000
"""A replica that lacks more than this of some jobs was away and is catching up."""

_log = logging.getLogger(__name__)

_KEY: Final = f"cityHash64(job, {IDENTITY})"


def copy_records(shard: Shard, answers: Sequence[bytes]) -> None:
    """Insert the newest records of the answers to a `records.select` for those that lack them.

    Raises:
        StoreUnavailable: it was not possible.
    """
    told = [records.decode(answer) for answer in answers]
    newest = records.newest(told)
    for its in told:
        known = set(its)
        if missing := [record for record in newest if record not in known]:
            shard.keep(missing, anew=True)
            _log.warning("%d records were not on every replica, and are now", len(missing))


def copy_rows(shard: Shard, where: str) -> None:
    """Insert the snapshots of a condition for those replicas that lack them.

    Raises:
        StoreUnavailable: it was not possible.
    """
    members = f"SELECT DISTINCT {_KEY} FROM snapshot WHERE {where}"
    found = shard.replicas(lambda node: set(map(int, node.query(members).split())))
    for node, its in found.items():
        for other, others in found.items():
            missing = others - its
            if node is not other and 0 < len(missing) <= MOST_ROWS:
                _copy(shard, other, f"{where} AND {_KEY} IN {one_of(missing, 'UInt64')}")


def _copy(shard: Shard, node: Node, where: str) -> None:
    """Insert rows that a replica has once more, unless they are gone meanwhile."""
    with shard.watched(node):
        body = node.query(f"SELECT {rows.COLUMNS} FROM snapshot WHERE {where} FORMAT RowBinary")
    if body:
        shard.insert(rows.INSERT, body, rows.first_witness(body), anew=True)
        _log.warning("snapshots of %d bytes were on %s alone, and are copied", len(body), node.name)


def unlike(answers: Sequence[bytes]) -> set[int]:
    """The jobs of which not all answers say the same, in lines that begin with a job's number."""
    times = Counter(line for answer in answers for line in answer.splitlines())
    return {int(line.split(b"\t", 1)[0]) for line, n in times.items() if n < len(answers)}
