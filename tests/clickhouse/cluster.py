"""A real cluster on this machine: Debian's clickhouse-server and ZooKeeper.

    with Cluster(folder, shards=2, replicas=2) as cluster:
        cluster.query("SELECT 1", shard=1, replica=2)
        with cluster.without(1, 2):
            cluster.query("SELECT 1", shard=1, replica=1)

Shards and replicas count from 1. All of it lies in one folder, and none of it outlives the tests.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from tests.clickhouse import configuration
from tests.clickhouse.asking import QueryError, ask, url_of
from tests.clickhouse.configuration import GUARDED, Ports
from tests.clickhouse.processes import Group, free_port
from tests.serving import PATIENCE, require

_SERVER = "/usr/sbin/clickhouse-server"
_JARS = ("/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-simple.jar")
_JAVA = (
    "java",
    "-Xms32m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    *("-cp", ":".join(_JARS)),
    "org.apache.zookeeper.server.quorum.QuorumPeerMain",
)
_ZOOKEEPER = "zookeeper"


class Cluster:
    """`shards` times `replicas` nodes; with one replica to a shard there is no ZooKeeper.

    Attributes:
        nodes: the (shard, replica) of each, shard by shard.
    """

    def __init__(self, folder: Path, shards: int = 1, replicas: int = 1) -> None:
        """Nothing runs before `start`."""
        self.nodes = [(s + 1, r + 1) for s in range(shards) for r in range(replicas)]
        self._folder = folder
        self._replicas = replicas
        self._ports = {node: Ports(free_port(), free_port(), free_port()) for node in self.nodes}
        self._zookeeper_port = free_port()
        self._processes: Group | None = None
        self._client = httpx2.Client(timeout=PATIENCE, trust_env=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Starts everything and returns when every node answers and has its ZooKeeper session."""
        _require_the_packages(zookeeper=self._is_replicated)
        self._write_configuration()
        self._processes = Group(self._folder)
        try:
            if self._is_replicated:
                self.start_zookeeper()
            for node in self.nodes:
                self._launch(*node)
            for node in self.nodes:
                self._wait(*node)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kills everything that runs."""
        self._group.close()
        self._client.close()

    def kill(self, shard: int, replica: int) -> None:
        """Ends a node without a chance to do anything more."""
        self._group.kill(_name(shard, replica))

    def start_node(self, shard: int, replica: int) -> None:
        """Starts a node that was killed, on its data; returns when it answers.

        ZooKeeper has to forget its last life first (3 s after its end): a replica that finds itself
        still active tries again only 10 s later.
        """
        if _ZOOKEEPER in self._group:
            self._group.wait(_ZOOKEEPER, self._zookeeper_knows_only_the_living)
        self._launch(shard, replica)
        self._wait(shard, replica)

    def pause(self, shard: int, replica: int) -> None:
        """A node says nothing from now on, and does not hang up either."""
        self._group.pause(_name(shard, replica))

    def resume(self, shard: int, replica: int) -> None:
        """A node that was paused goes on; returns when it takes part again.

        18.16 does not always: it may abort as those who talked to it have left ("Terminate called
        without an active exception"), or wait for ever for the session that it lost. It is started
        again then, as an operator would.
        """
        self._group.resume(_name(shard, replica))
        try:
            self._group.wait(_name(shard, replica), lambda: self._takes_part(shard, replica))
        except RuntimeError:
            self.kill(shard, replica)
            self.start_node(shard, replica)

    def kill_zookeeper(self) -> None:
        """Ends ZooKeeper without a chance to do anything more."""
        self._group.kill(_ZOOKEEPER)

    def start_zookeeper(self) -> None:
        """Starts ZooKeeper, on its data if it was killed; returns when it answers."""
        self._group.start(_ZOOKEEPER, [*_JAVA, str(self._folder / "zookeeper/zoo.cfg")])
        self._group.wait(_ZOOKEEPER, self._zookeeper_is_well)

    # ------------------------------------------------------------ trouble, and its end

    @contextmanager
    def without(self, shard: int, replica: int) -> Iterator[None]:
        """A node is killed, and started again at the end."""
        self.kill(shard, replica)
        try:
            yield
        finally:
            self.start_node(shard, replica)

    @contextmanager
    def paused(self, shard: int, replica: int) -> Iterator[None]:
        """A node is paused until the end."""
        self.pause(shard, replica)
        try:
            yield
        finally:
            self.resume(shard, replica)

    @contextmanager
    def without_zookeeper(self) -> Iterator[None]:
        """ZooKeeper is killed, and started again at the end."""
        self.kill_zookeeper()
        try:
            yield
        finally:
            self.start_zookeeper()

    # ------------------------------------------------------------ addresses

    @property
    def url(self) -> str:
        """The store's URL."""
        return self.url_of()

    def url_of(self, user: str = "default", password: str = "", database: str = "tunelog") -> str:
        """The store's URL for another user or database."""
        ports = [self.port(*node) for node in self.nodes]
        return url_of(ports, user, password, database, self._replicas)

    @property
    def guarded_url(self) -> str:
        """The store's URL for a user who has a password."""
        return self.url_of(*GUARDED)

    def port(self, shard: int, replica: int) -> int:
        """Where a node listens for HTTP."""
        return self._ports[shard, replica].http

    def pid(self, shard: int, replica: int) -> int:
        """A node's process id."""
        return self._group.pid(_name(shard, replica))

    @property
    def zookeeper_pid(self) -> int:
        """ZooKeeper's process id."""
        return self._group.pid(_ZOOKEEPER)

    # ------------------------------------------------------------ asking

    def query(self, sql: str, shard: int = 1, replica: int = 1, data: bytes = b"") -> str:
        """What a node answers; raises `QueryError` if that is an error."""
        return ask(self._client, self.port(shard, replica), sql, data)

    def everywhere(self, sql: str) -> list[str]:
        """What each node answers, shard by shard."""
        return [self.query(sql, *node) for node in self.nodes]

    # ------------------------------------------------------------ parts

    @property
    def _is_replicated(self) -> bool:
        return self._replicas > 1

    @property
    def _group(self) -> Group:
        assert self._processes is not None, "the cluster was never started"
        return self._processes

    def _write_configuration(self) -> None:
        folder = self._folder / "zookeeper"
        folder.mkdir()
        (folder / "zoo.cfg").write_text(configuration.zookeeper(folder, self._zookeeper_port))
        for node in self.nodes:
            folder = self._folder / _name(*node)
            folder.mkdir()
            replication = ""
            if self._is_replicated:
                replication = configuration.replication(*node, self._zookeeper_port)
            text = configuration.node(folder, self._ports[node], replication)
            (folder / "config.xml").write_text(text)

    def _launch(self, shard: int, replica: int) -> None:
        name = _name(shard, replica)
        self._group.start(name, [_SERVER, f"--config-file={self._folder / name / 'config.xml'}"])

    def _wait(self, shard: int, replica: int) -> None:
        self._group.wait(_name(shard, replica), lambda: self._is_well(shard, replica))

    def _takes_part(self, shard: int, replica: int) -> bool:
        if not self._is_well(shard, replica):
            return False
        sql = (
            "SELECT sum(is_readonly + is_session_expired), sum(active_replicas) > 0 OR count() = 0"
        )
        try:
            return self.query(f"{sql} FROM system.replicas", shard, replica).split() == ["0", "1"]
        except (httpx2.TransportError, QueryError):
            return False

    def _is_well(self, shard: int, replica: int) -> bool:
        # ZooKeeper may be away when a node comes back; that it serves is all we may wait for then.
        with_session = _ZOOKEEPER in self._group
        sql = (
            "SELECT count() FROM system.zookeeper WHERE path = '/'" if with_session else "SELECT 1"
        )
        try:
            return int(self.query(sql, shard, replica)) > 0
        except (httpx2.TransportError, QueryError):
            return False

    def _zookeeper_is_well(self) -> bool:
        return self._ask_zookeeper("ruok") == "imok"

    def _zookeeper_knows_only_the_living(self) -> bool:
        living = sum(_name(*node) in self._group for node in self.nodes)
        facts = dict(line.split("\t", 1) for line in self._ask_zookeeper("mntr").splitlines())
        return int(facts.get("zk_global_sessions", len(self.nodes))) <= living

    def _ask_zookeeper(self, word: str) -> str:
        """Its answer to one of its words of four letters; nothing while it is not there.

        Asked too early it neither answers nor hangs up, so it has a second and is asked again.
        """
        try:
            with socket.create_connection(("127.0.0.1", self._zookeeper_port), timeout=1) as line:
                line.sendall(word.encode())
                with line.makefile() as answer:
                    return answer.read()
        except OSError:
            return ""


def _name(shard: int, replica: int) -> str:
    return f"shard{shard}-replica{replica}"


def _require_the_packages(*, zookeeper: bool) -> None:
    require(Path(_SERVER).exists(), "ClickHouse is not there (scripts/clickhouse)")
    if zookeeper:
        there = shutil.which("java") and all(Path(jar).exists() for jar in _JARS)
        require(there, "ZooKeeper or a Java to run it is not there (scripts/clickhouse)")
