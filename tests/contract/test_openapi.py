"""The contract in openapi.yaml, and the service that keeps it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
import yaml

from tests.serving import Server
from tunelog.server.app import OPERATIONS
from tunelog.server.public import openapi

SPEC = openapi()
OPENAPI = Path(__file__).parents[2] / "src/tunelog/server/openapi.yaml"
SEED = yaml.safe_load((Path(__file__).parent / "seed.yaml").read_text())
METHODS = {"get", "post", "patch", "delete", "put"}


def resolved(node: Any) -> Any:
    """A part of the contract with every $ref replaced by what it points to."""
    if isinstance(node, dict):
        if "$ref" in node:
            target: Any = SPEC
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            return resolved(target)
        return {key: resolved(value) for key, value in node.items()}
    return [resolved(item) for item in node] if isinstance(node, list) else node


def test_the_routes_are_the_paths_of_the_contract() -> None:
    written = {
        (method.upper(), path)
        for path, item in SPEC["paths"].items()
        for method, operation in item.items()
        if method in METHODS and operation.get("security") != []
    }
    served = {(o.method, o.path) for o in OPERATIONS if "//" not in o.path}
    assert served == written


def test_the_seeds_operation_is_in_the_contract_word_for_meaning() -> None:
    path = "/fine-tunes/{id}/metrics"
    seed = SEED["paths"][path]["get"]
    ours = resolved(SPEC["paths"][path]["get"])
    assert ours["summary"] == seed["summary"]
    assert ours["description"].startswith(seed["description"].strip())
    parameters = {p["name"]: p for p in ours["parameters"]}
    for wanted in seed["parameters"]:
        found = parameters[wanted["name"]]
        assert (found["in"], found["required"]) == (wanted["in"], wanted["required"])
        assert found["schema"]["type"] == wanted["schema"]["type"]
        assert found["schema"].get("format") == wanted["schema"].get("format")
        assert str(found.get("example")) == str(wanted.get("example", found.get("example")))
        assert found.get("description") == wanted.get("description", found.get("description"))
    for status, response in seed["responses"].items():
        assert ours["responses"][status]["description"] == response["description"]


def test_a_default_answer_fits_the_seeds_numbers_only_schema(api: httpx2.Client) -> None:
    job = api.post("/v1/fine-tunes", json={"model": "m"}).json()["id"]
    rows = [
        {"train/global_step": 1, "train/loss": "NaN", "train/lr": 0.1},
        {"train/global_step": 1, "eval/loss": "-Infinity"},
    ]
    assert api.post(f"/v1/fine-tunes/{job}/metrics", json={"metrics": rows}).status_code == 200
    responses = SEED["paths"]["/fine-tunes/{id}/metrics"]["get"]["responses"]
    schema = responses["200"]["content"]["application/json"]["schema"]
    answer = api.get(f"/v1/fine-tunes/{job}/metrics").json()
    jsonschema.validate(answer, schema)
    assert len(answer["metrics"]) == 2
    for form in ("null", "string"):
        shown = api.get(f"/v1/fine-tunes/{job}/metrics", params={"nonfinite": form}).json()
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(shown, schema)


def test_the_contract_is_served_as_it_is_written_without_a_key(server: Server) -> None:
    text = httpx2.get(f"{server.url}/openapi.yaml")
    assert text.content == OPENAPI.read_bytes()
    assert httpx2.get(f"{server.url}/openapi.json").json() == SPEC
    page = httpx2.get(f"{server.url}/docs")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_schemathesis_finds_nothing_with_every_check_on(fresh_server: Server) -> None:
    """Examples, coverage, fuzzing and stateful phases over every operation, over a socket."""
    command = [
        str(Path(sys.executable).with_name("st")),
        "run",
        str(OPENAPI),
        f"--url={fresh_server.url}/v1",
        f"--header=Authorization: Bearer {fresh_server.api_key}",
        "--max-examples=40",
        "--suppress-health-check=too_slow",  # how fast data are made says nothing of the service
        "--no-color",
    ]
    with fresh_server.client() as client:
        shared = client.post("/v1/fine-tunes", json={"model": "m"}).json()["id"]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.contract.hooks",
        "TUNELOG_API_KEY": fresh_server.api_key,
        "TUNELOG_JOB_ID": shared,
    }
    found = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=OPENAPI.parents[3]
    )
    report = found.stdout + found.stderr
    assert found.returncode == 0, report
    operations = sum(method in METHODS for item in SPEC["paths"].values() for method in item)
    assert f"Tested: {operations}" in report, report
    assert not re.search(r"(?m)^Warnings:|^Errors:|^Failures:", report), report
