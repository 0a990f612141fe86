"""What a ClickHouse node and a ZooKeeper of the test cluster are told before they start."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

GUARDED = ("guarded", "correct horse: battery/staple")
"""A user who has a password, and the password; the user `default` has none."""


class Ports(NamedTuple):
    """Where a node listens: for queries, for the native protocol, for other replicas."""

    http: int
    tcp: int
    interserver: int


_NODE = """\
<yandex>
  <logger><level>warning</level><log>{folder}/log</log><errorlog>{folder}/errors</errorlog></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{ports.http}</http_port>
  <tcp_port>{ports.tcp}</tcp_port>
  <interserver_http_host>127.0.0.1</interserver_http_host>
  <interserver_http_port>{ports.interserver}</interserver_http_port>
  <path>{folder}/data/</path>
  <tmp_path>{folder}/tmp/</tmp_path>
  <user_files_path>{folder}/user_files/</user_files_path>
  <format_schema_path>{folder}/format_schemas/</format_schema_path>
  <timezone>UTC</timezone>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <mark_cache_size>67108864</mark_cache_size>
  <keep_alive_timeout>30</keep_alive_timeout>
{replication}
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <profiles><default>
    <log_queries>0</log_queries>
    <http_send_timeout>5</http_send_timeout>
    <http_receive_timeout>5</http_receive_timeout>
  </default></profiles>
  <users>
    <default>
      <password></password>
      <networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
    </default>
    <{guarded[0]}>
      <password>{guarded[1]}</password>
      <networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
    </{guarded[0]}>
  </users>
  <quotas><default></default></quotas>
</yandex>
"""

# A replica that lost its session looks once a second whether it can have a new one; once a minute,
# the default, is a long time in a test. One that was killed when a table was a few rows old may
# find most of its parts to be others than ZooKeeper knows of: it takes those of the others then. No
# `distributed_ddl`: 18.16 crashes on an ON CLUSTER that comes before its ZooKeeper session.
_REPLICATION = """\
  <macros><shard>{shard:02}</shard><replica>r{replica}</replica></macros>
  <zookeeper>
    <node><host>127.0.0.1</host><port>{zookeeper_port}</port></node>
    <session_timeout_ms>3000</session_timeout_ms>
  </zookeeper>
  <merge_tree>
    <zookeeper_session_expiration_check_period>1</zookeeper_session_expiration_check_period>
    <replicated_max_ratio_of_wrong_parts>1</replicated_max_ratio_of_wrong_parts>
  </merge_tree>
"""

_ZOOKEEPER = """\
tickTime=500
dataDir={folder}/data
clientPortAddress=127.0.0.1
clientPort={port}
admin.enableServer=false
4lw.commands.whitelist=ruok,mntr
"""


def node(folder: Path, ports: Ports, replication: str) -> str:
    """A node's `config.xml`; everything of it lies in `folder`."""
    return _NODE.format(folder=folder, ports=ports, replication=replication, guarded=GUARDED)


def replication(shard: int, replica: int, zookeeper_port: int) -> str:
    """The part of a node's configuration that makes it a replica of its shard."""
    return _REPLICATION.format(shard=shard, replica=replica, zookeeper_port=zookeeper_port)


def zookeeper(folder: Path, port: int) -> str:
    """ZooKeeper's `zoo.cfg`."""
    return _ZOOKEEPER.format(folder=folder, port=port)
