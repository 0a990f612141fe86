"""Store URLs of ClickHouse: which servers, shard by shard, and how to log in."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from tunelog.errors import InvalidRequest

FORM = "clickhouse://user:password@h1:8123,h2:8123/database?replicas=2"
"""What a URL looks like; `clickhouses://` speaks TLS."""

_PORTS = {"clickhouse": 8123, "clickhouses": 8443}


class Address(Struct, frozen=True, kw_only=True):
    """Where a cluster is.

    Attributes:
        shards: the servers of each shard, as the origins of their HTTP interfaces.
        user, password: how to log in; the password may be empty.
        database: where the tables are.
    """

    shards: tuple[tuple[str, ...], ...]
    user: str
    password: str
    database: str

    @property
    def replicas(self) -> int:
        """How many servers hold each shard."""
        return len(self.shards[0])

    @property
    def origins(self) -> tuple[str, ...]:
        """Every server, shard by shard."""
        return tuple(origin for shard in self.shards for origin in shard)

    @property
    def is_private(self) -> bool:
        """Whether what passes between machines is encrypted."""
        return self.shards[0][0].startswith("https:")


def parse(url: str) -> Address:
    """The address in a store URL.

    Hosts stand shard by shard, `replicas` of them (default 1) to a shard.

    Raises:
        InvalidRequest: the URL cannot be understood; says why. It never repeats a password.
    """
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    database = unquote(parts.path.strip("/"))
    if not hosts or not database or "/" in database:
        raise _wrong("hosts and one database are wanted")
    origins = [_origin(parts.scheme, host) for host in hosts.split(",")]
    if len(set(origins)) != len(origins):
        raise _wrong("a host stands there twice")
    replicas = _replicas(parts.query)
    if len(origins) % replicas:
        raise _wrong(f"{len(origins)} hosts do not make shards of {replicas} replicas")
    return Address(
        shards=tuple(tuple(origins[at : at + replicas]) for at in range(0, len(origins), replicas)),
        user=unquote(user) or "default",
        password=unquote(password),
        database=database,
    )


def _origin(scheme: str, host: str) -> str:
    name, _, port = host.strip().rpartition(":")
    if not name or host.endswith("]"):  # without a port, or a bare IPv6 address
        name, port = host.strip(), str(_PORTS[scheme])
    if not name or not port.isdecimal() or not 0 < int(port) < 65536:
        raise _wrong(f"{host!r} is not host:port")
    return f"{'https' if scheme == 'clickhouses' else 'http'}://{name}:{port}"


def _replicas(query: str) -> int:
    replicas = "1"
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "replicas":
            raise _wrong(f"{name!r} is not known, only replicas= is")
        replicas = value
    if not replicas.isdecimal() or not 0 < int(replicas) < 100:
        raise _wrong(f"replicas={replicas}: a number from 1 is wanted")
    return int(replicas)


def _wrong(why: str) -> InvalidRequest:
    return InvalidRequest(f"store clickhouse://…: {why}; it looks like {FORM}")
