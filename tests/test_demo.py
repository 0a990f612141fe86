"""`tunelog demo` from end to end: the service, the training, what is read back, and its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.serving import COMMAND

DEADLINE = 120.0


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """An environment in which the demo's own directories lie in `tmp_path`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TUNELOG_", "COLUMNS"))}
    return {**inherited, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}


def demo(variables: dict[str, str], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "demo", *flags],
        env=variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


class Demo:
    """A demo while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def until(self, words: str) -> str:
        """What it prints up to the line that has these words."""
        assert self._process.stdout is not None
        end = threading.Timer(DEADLINE, self._process.kill)
        end.start()
        printed = ""
        for line in self._process.stdout:
            printed += line
            if words in line:
                end.cancel()
                return printed
        raise AssertionError(f"it ended without {words!r}:\n{printed}")

    def send(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send it a signal; its exit code, and what it said after that on both streams."""
        self._process.send_signal(number)
        printed, said = self._process.communicate(timeout=DEADLINE)
        return self._process.returncode, printed, said


@contextmanager
def running(variables: dict[str, str], *flags: str) -> Iterator[Demo]:
    with subprocess.Popen(
        [*COMMAND, "demo", *flags],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Demo(process)
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz").status_code == 200
    except httpx2.HTTPError:
        return False


def test_a_training_is_recorded_and_read_back_and_nothing_is_left(
    variables: dict[str, str], tmp_path: Path
) -> None:
    done = demo(variables, "--seconds", "5", "--exit", "--port", "0")
    assert (done.returncode, done.stderr) == (0, "")
    losses = re.findall(r"^step +\d+ .*eval loss (\d\.\d+)$", done.stdout, re.MULTILINE)
    assert float(losses[-1]) < float(losses[0]) - 1
    for title in ("loss  ⠒ train  o eval", "learning_rate  ⠒ train", "grad_norm  ⠒ train"):
        assert title in done.stdout
    assert "losses the same" in done.stdout
    assert "What the model writes now:" in done.stdout
    assert not list(tmp_path.glob("tunelog-demo-*"))
    url = re.search(r"The service runs at (\S+)", done.stdout)
    assert url is not None
    assert not answers(url[1])


def test_the_service_stays_until_ctrl_c_and_the_lines_to_paste_are_right(
    variables: dict[str, str], tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path / 'kept.db'}"
    flags = ("--seconds", "1", "--port", "0", "--store", store)
    with running(variables, *flags) as process:
        printed = process.until("until Ctrl-C")
        pasted = dict(re.findall(r"^  export (\w+)=(\S+)$", printed, re.MULTILINE))
        assert pasted["TOGETHER_BASE_URL"] == pasted["TUNELOG_URL"]
        assert pasted["TOGETHER_API_KEY"] == pasted["TUNELOG_API_KEY"]
        assert f"{pasted['TUNELOG_URL']}/docs" in printed
        link = re.search(r"^(http\S+/sign-in\?code=\S+)$", printed, re.MULTILINE)
        assert link is not None
        with httpx2.Client(base_url=pasted["TUNELOG_URL"]) as browser:
            browser.get(link[1], follow_redirects=False)
            assert browser.get("/v1/whoami").json()["scopes"] == ["admin"]
        job_id = re.search(r"^  tg ft list-metrics (ft-\S+)$", printed, re.MULTILINE)
        assert job_id is not None
        with httpx2.Client(
            base_url=f"{pasted['TUNELOG_URL']}/v1/fine-tunes/{job_id[1]}",
            headers={"Authorization": f"Bearer {pasted['TUNELOG_API_KEY']}"},
        ) as api:
            job = api.get("").json()
            rows = api.get("/metrics").json()["metrics"]
            checkpoints = api.get("/checkpoints").json()["data"]
        assert (job["status"], job["name"]) == ("completed", "demo")
        assert {e["type"] for e in job["events"]} >= {"training_start", "training_complete"}
        steps = [row["train/global_step"] for row in rows if "train/loss" in row]
        assert steps == list(range(1, len(steps) + 1))
        assert next(row["train/global_step"] for row in rows if "eval/loss" in row) == 0
        assert (checkpoints[-1]["checkpoint_type"], checkpoints[-1]["step"]) == ("Final", steps[-1])
        assert Path(checkpoints[-1]["path"]).stat().st_size > 1_000_000
        code, _, said = process.send(signal.SIGINT)
        assert (code, said) == (0, "")
        assert not answers(pasted["TUNELOG_URL"])

    again = demo(variables, *flags, "--exit")
    assert (again.returncode, again.stderr) == (0, "")


def test_ctrl_c_while_it_trains_ends_everything(variables: dict[str, str], tmp_path: Path) -> None:
    with running(variables, "--seconds", "100", "--port", "0") as process:
        printed = process.until("step     0")
        url = re.search(r"The service runs at (\S+)", printed)
        assert url is not None
        code, _, said = process.send(signal.SIGINT)
    assert (code, said) == (130, "")
    assert not answers(url[1])
    assert not list(tmp_path.glob("tunelog-demo-*"))


def test_a_port_that_is_taken_is_one_line(variables: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = demo(variables, "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"tunelog: .*127\.0\.0\.1:{port}.*\(another port: --port\)\n", done.stderr)
    assert not list(tmp_path.glob("tunelog-demo-*"))
