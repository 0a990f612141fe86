"""The files in deploy/, held to the tools that read them; only the proxy is started here."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx2
import pytest
import yaml

from tests.clickhouse.processes import Group, free_port
from tests.serving import Request, Server, require
from tunelog.backends.clickhouse import address

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HAPROXY = Path("/usr/sbin/haproxy")
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def lint(tool: str, *arguments: str | Path, **variables: str) -> str:
    """What a linter says of files that it must find good."""
    path = ROOT / ".linters/bin" / tool
    require(path.exists(), f"{tool} is not there (scripts/linters)")
    done = subprocess.run(
        [path, *arguments], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def compose() -> Any:
    """The compose file as Docker Compose understands it."""
    told = lint("docker-compose", "-f", DEPLOY / "compose.yaml", "config", CLICKHOUSE_PASSWORD="pw")
    return yaml.safe_load(told)


def manifests() -> list[Any]:
    return [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text())]


def containers() -> dict[str, Any]:
    """The container of each workload, by the workload's name."""
    workloads = [each for each in manifests() if "template" in each.get("spec", {})]
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]
        for each in workloads
    }


def variables(container: Mapping[str, Any]) -> set[str]:
    return {each["name"] for each in container.get("env", [])}


# ---------------------------------------------------------------- files and linters


def test_the_services_of_the_compose_file_share_a_store_of_three_replicas(compose: Any) -> None:
    stores = {
        service["environment"]["TUNELOG_STORE"]
        for name, service in compose["services"].items()
        if name == "migrate" or name.startswith("tunelog-")
    }
    (url,) = stores
    assert address.parse(url).replicas == 3
    for origin in address.parse(url).origins:
        assert compose["services"][origin.split("/")[2].partition(":")[0]]["image"].startswith(
            "clickhouse/clickhouse-server"
        )


def test_kubernetes_takes_the_manifests() -> None:
    lint("kubernetes-validate", "--strict", "--quiet", *MANIFESTS)


def test_the_dockerfile_has_nothing_that_hadolint_would_do_otherwise() -> None:
    assert lint("hadolint", DEPLOY / "Dockerfile") == ""


def test_the_kustomization_names_all_manifests_and_files_that_are_there() -> None:
    kustomization = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    assert [DEPLOY / name for name in sorted(kustomization["resources"])] == MANIFESTS
    made = set()
    for generated in kustomization["configMapGenerator"]:
        made.add(generated["name"])
        for file in generated["files"]:
            assert (DEPLOY / file.rpartition("=")[2]).is_file()
    wanted = {
        volume["configMap"]["name"]
        for each in manifests()
        for volume in each.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", [])
    }
    assert made == wanted


@pytest.mark.parametrize(("file", "workload"), [("server", "clickhouse"), ("keeper", "keeper")])
def test_what_a_configuration_takes_from_the_environment_is_there(
    compose: Any, file: str, workload: str
) -> None:
    tree = ElementTree.parse(DEPLOY / f"clickhouse/{file}.xml")
    wanted = {each.attrib["from_env"] for each in tree.iter() if "from_env" in each.attrib}
    assert wanted
    assert wanted <= variables(containers()[workload])
    for number in (1, 2, 3):
        assert wanted <= set(compose["services"][f"{workload}-{number}"]["environment"])


def test_a_manifests_store_names_its_replicas() -> None:
    for workload in ("migrate", "tunelog"):
        told = {each["name"]: each.get("value", "") for each in containers()[workload]["env"]}
        url = told["TUNELOG_STORE"].replace("$(CLICKHOUSE_PASSWORD)", "pw")
        hosts = [origin.split("/")[2] for origin in address.parse(url).origins]
        assert hosts == [f"clickhouse-{number}.clickhouse:8123" for number in (1, 2, 3)]
        assert address.parse(url).replicas == 3


# ---------------------------------------------------------------- the proxy


class Proxied:
    """Two services, and HAProxy in front of them with the file from deploy/."""

    def __init__(self, folder: Path, services: list[Server]) -> None:
        self.services = services
        self.url = f"http://127.0.0.1:{free_port()}"
        self._group = Group(folder)

    def start(self) -> None:
        hosts = [service.url.removeprefix("http://") for service in self.services]
        environment = {
            **os.environ,
            "TUNELOG_LISTEN": self.url.removeprefix("http://"),
            "TUNELOG_1": hosts[0],
            "TUNELOG_2": hosts[1],
        }
        command = [str(HAPROXY), "-f", str(DEPLOY / "haproxy.cfg")]
        self._group.start("haproxy", command, environment)
        self._group.wait("haproxy", lambda: self.status("/healthz") == 200)

    def status(self, path: str) -> int:
        try:
            return httpx2.get(self.url + path, verify=False).status_code
        except httpx2.TransportError:
            return 0

    def asked(self, *paths: str) -> list[list[Request]]:
        """Ask for paths by way of the proxy; answers what arrived at each service."""
        one, other = self.services
        with one.requests() as at_one, other.requests() as at_other:
            for path in paths:
                self.status(path)
        return [at_one, at_other]

    def close(self) -> None:
        self._group.close()


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Proxied]:
    require(HAPROXY.exists(), "HAProxy is not there (scripts/linters)")
    folders = [tmp_path / name for name in ("one", "other", "proxy")]
    for folder in folders:
        folder.mkdir()
    with Server(folders[0]) as one, Server(folders[1]) as other:
        proxied = Proxied(folders[2], [one, other])
        try:
            proxied.start()
            yield proxied
        finally:
            proxied.close()


def jobs_of(requests: list[Request]) -> set[str]:
    return {found[1] for each in requests if (found := re.search(r"(ft-\d+)", each.path))}


def test_all_requests_of_a_job_reach_one_service_and_jobs_are_spread(proxied: Proxied) -> None:
    paths = [
        path
        for number in range(20)
        for path in (
            f"/v1/fine-tunes/ft-{number}",
            f"/v1/fine-tunes/ft-{number}/metrics?resolution=100",
            f"/fine-tunes/ft-{number}/events",
        )
    ]
    at_one, at_other = proxied.asked(*paths)
    assert len(at_one) + len(at_other) == len(paths)
    assert jobs_of(at_one) | jobs_of(at_other) == {f"ft-{number}" for number in range(20)}
    assert not jobs_of(at_one) & jobs_of(at_other)
    assert jobs_of(at_one)
    assert jobs_of(at_other)


def test_the_jobs_of_a_service_that_died_go_to_the_other_at_once(proxied: Proxied) -> None:
    paths = [f"/v1/fine-tunes/ft-{number}" for number in range(20)]
    proxied.services[1].kill()
    assert {proxied.status(path) for path in paths} == {401}


def test_the_services_own_numbers_are_not_for_outside(proxied: Proxied) -> None:
    for path in ("/metrics", "/v1/metrics", "/v1/v1/metrics/"):
        assert proxied.status(path) == 404
    assert proxied.status("/v1/metrics/query") == 405
    assert proxied.status("/readyz") == 200
