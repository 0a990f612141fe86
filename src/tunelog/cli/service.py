"""The service as a child process: `tunelog serve`, ready, with a key to it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from tunelog.errors import StoreUnusable

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_TUNELOG = (sys.executable, "-m", "tunelog")
_ADDRESS = re.compile(r" at (http://\S+)$", re.MULTILINE)
_LINK = re.compile(r"^(http\S+/sign-in\?code=\S+)$", re.MULTILINE)
_KEY = re.compile(r"^export TUNELOG_API_KEY=(\S+)$", re.MULTILINE)


class ServiceProcess:
    """`tunelog serve` from the `with` statement's begin to its end.

    Attributes:
        url: its address.
        api_key: a key of it, with every scope.
        link: opens the page signed in, once; empty if the store has no key for that.
    """

    def __init__(self, host: str, port: int, store: str, folder: Path) -> None:
        """What it prints and logs goes to files in `folder`."""
        self.url = ""
        self.api_key = ""
        self.link = ""
        self._store = store
        self._where = ("--host", host, "--port", str(port), "--store", store)
        self._printed, self._log = folder / "service.out", folder / "service.log"

    def __enter__(self) -> Self:
        with open(self._printed, "wb") as printed, open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [*_TUNELOG, "serve", *self._where],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C is ours alone, and we stop it when we end
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> None:
        """Return never, unless it ends by itself: `StoreUnusable`, with its last words."""
        self._process.wait()
        raise StoreUnusable(f"the service ended: {self._last_words()}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not (address := _ADDRESS.search(self._printed.read_text())):
            if self._process.poll() is not None:
                raise StoreUnusable(self._last_words())
            if time.monotonic() > deadline:
                raise StoreUnusable(f"the service did not start in {_START_SECONDS:.0f} s")
            time.sleep(0.05)
        self.url = address[1]
        try:
            httpx2.get(f"{self.url}/readyz", timeout=_START_SECONDS, trust_env=False)
        except httpx2.HTTPError as error:
            raise StoreUnusable(f"{self.url} does not answer: {error}") from error
        printed = self._printed.read_text()
        key, link = _KEY.search(printed), _LINK.search(printed)
        self.api_key = key[1] if key else self._new_key()
        self.link = link[1] if link else ""

    def _new_key(self) -> str:
        """A further key: the store's first one was shown when the store was made."""
        made = subprocess.run(
            [*_TUNELOG, "keys", "create", "--scope", "admin", "--store", self._store],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise StoreUnusable(made.stderr.strip().removeprefix("tunelog: "))
        return made.stdout.strip()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        words = lines[-1].removeprefix("tunelog: ") if lines else "it said nothing"
        return f"{words} (another port: --port)" if "cannot listen" in words else words
