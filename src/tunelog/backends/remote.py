"""A service as a store: the HTTP API behind the same contract.

What recorders, the command line and other programs use to speak to a service. Errors of the service
are raised as the errors that they were there; a service that is away is `StoreUnavailable`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec

from tunelog import __version__, errors
from tunelog.access import Share
from tunelog.backends.futures import done
from tunelog.model import (
    ALL,
    ROW_SEPARATOR,
    Attempt,
    Batch,
    Change,
    Changes,
    Checkpoint,
    Column,
    Cursor,
    Event,
    FoundJobs,
    Job,
    JobChanges,
    JobDetails,
    JobQuery,
    Reading,
    Receipt,
    SnapshotArrived,
    SnapshotQuery,
    StatusChanged,
    Summary,
    Superseded,
)
from tunelog.wire import access, catalog
from tunelog.wire.listing import job_query_parameters
from tunelog.wire.queries import query_parameters
from tunelog.wire.snapshots import decode_receipt, encode_batch, matcher

_ERRORS: Mapping[int, type[errors.TunelogError]] = {
    400: errors.InvalidRequest,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.LimitExceeded,
    429: errors.StoreUnavailable,
    500: errors.StoreError,
}
_CHUNK = 1 << 18
_MATCHED = "tunelog-matched"
_LONGEST_PAUSE = 5.0


class RemoteStore:
    """The project of an API key, at a service."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout: float = 60.0,
        client: httpx2.Client | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: the service's address, with or without `/v1`.
            api_key: the key's secret.
            timeout: seconds to wait for a connection, or for the next bytes.
            client: sends the requests instead of one made here.

        Raises:
            InvalidRequest: the address is not an http or https URL, or the key cannot be sent.
        """
        base = url.strip().rstrip("/").removesuffix("/v1")
        if not base.startswith(("http://", "https://")):
            raise errors.InvalidRequest(f"{url!r} is not the address of a service (http://…)")
        if not (api_key and api_key.isascii() and api_key.isprintable()):
            raise errors.InvalidRequest("an API key is wanted, of printable ASCII characters")
        self._client = client or httpx2.Client(timeout=timeout)
        self._base = f"{base}/v1"
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "User-Agent": f"tunelog/{__version__}",
        }

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # ------------------------------------------------------------ requests

    @contextmanager
    def stream(
        self,
        path: str,
        parameters: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> Iterator[httpx2.Response]:
        """A GET whose answer is read as it comes; `path` as in openapi.yaml, `/fine-tunes/…`."""
        headers = {**self._headers, "Accept": accept}
        url = f"{self._base}{path}"
        with (
            _translated(self._base),
            self._client.stream("GET", url, params=parameters, headers=headers) as response,
        ):
            if not response.is_success:
                response.read()
                raise _error(response)
            is_tail = "event-stream" in response.headers.get("content-type", "")
            if path.endswith("/metrics") and not is_tail and _MATCHED not in response.headers:
                raise _foreign(self._base)
            yield response

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer's JSON."""
        content = self._content(method, path, body, parameters)
        with _understood(self._base):
            return msgspec.json.decode(content)

    def _content(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> bytes:
        content: bytes = self._answer(method, path, body, parameters).content
        return content

    def _answer(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        headers = {**self._headers, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        with _translated(self._base):
            response = self._client.request(
                method, f"{self._base}{path}", params=parameters, content=body, headers=headers
            )
            if not response.is_success:
                raise _error(response)
            return response

    # ------------------------------------------------------------ snapshots

    def submit(self, job_id: str, batch: Batch) -> Future[Receipt]:
        """Store a batch whole; waits for the service nevertheless."""
        return done(lambda: self.append(job_id, batch))

    def append(self, job_id: str, batch: Batch) -> Receipt:
        """Store a batch whole."""
        return decode_receipt(self._content("POST", _path(job_id, "metrics"), encode_batch(batch)))

    def read(self, job_id: str, query: SnapshotQuery = ALL) -> Reading:
        """The matching snapshots, encoded, in order."""
        opened = self.stream(
            _path(job_id, "metrics"), query_parameters(query), "application/x-ndjson"
        )
        response = opened.__enter__()

        def chunks() -> Iterator[bytes]:
            try:
                with _translated(self._base):
                    yield from _rows(response)
            finally:
                opened.__exit__(None, None, None)

        return Reading(
            int(response.headers[_MATCHED]),
            int(response.headers["tunelog-returned"]),
            response.headers["tunelog-cursor"],
            chunks(),
        )

    def columns(self, job_id: str, query: SnapshotQuery = ALL) -> Sequence[Column]:
        """The job's metrics that `query.keys` selects; any kind of number is taken for possible."""
        wanted = matcher(query.keys) if query.keys else None
        found = self.summarize(job_id, SnapshotQuery(attempt="all")).metrics
        return [Column(name, True, True, True) for name in found if not wanted or wanted(name)]

    def summarize(self, job_id: str, query: SnapshotQuery = ALL) -> Summary:
        """Counts, extremes and ends of the matching snapshots."""
        parameters = query_parameters(query)
        return catalog.decode_summary(
            self._send("GET", _path(job_id, "metrics/summary"), parameters=parameters)
        )

    def changes(self, job_id: str, query: SnapshotQuery = ALL, *, limit: int = 1000) -> Changes:
        """What arrived after `query.after`, as far as the service knows now."""
        found: list[Change] = []
        cursor = query.after or "0"
        for change in self._tail(job_id, query):
            if change is None:
                return Changes(found, cursor, more=False)
            found.append(change)
            cursor = change.cursor
            if len(found) == limit:
                return Changes(found, cursor, more=True)
        return Changes(found, cursor, more=False)

    def follow(
        self, job_id: str, query: SnapshotQuery = ALL, after: Cursor | None = None
    ) -> Iterator[Change]:
        """A job's changes as they come, for ever, through restarts of the service.

        Raises:
            NotFound: the job is gone. Other refusals of the service as they are.
        """
        after = after or query.after
        pause = 0.1
        while True:
            try:
                resumed = msgspec.structs.replace(query, after=after)
                for change in self._tail(job_id, resumed):
                    pause = 0.1
                    if change is not None:
                        after = change.cursor
                        yield change
            except errors.StoreUnavailable:
                pass
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _tail(self, job_id: str, query: SnapshotQuery) -> Iterator[Change | None]:
        """The changes of a live tail, and None each time that everything known has been sent."""
        parameters = query_parameters(query)
        with self.stream(_path(job_id, "metrics"), parameters, "text/event-stream") as response:
            event: dict[str, str] = {}
            for line in response.iter_lines():
                if line.startswith(": up to date"):
                    yield None
                elif line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif event:
                    yield _change(event)
                    event = {}

    # ------------------------------------------------------------ catalog

    def create_job(self, details: JobDetails, job_id: str | None = None) -> Job:
        """Register a `pending` job, or answer the one of this id."""
        return self._job("POST", "/fine-tunes", catalog.encode_new_job(details, job_id))

    def job(self, job_id: str) -> Job:
        """One job."""
        return self._job("GET", _path(job_id))

    def jobs(self, *, name: str | None = None, limit: int | None = None) -> Sequence[Job]:
        """Jobs, newest first."""
        return self.find_jobs(JobQuery(name=name, limit=limit)).jobs

    def find_jobs(self, query: JobQuery) -> FoundJobs:
        """Jobs as a list shows them."""
        response = self._answer("GET", "/fine-tunes", parameters=job_query_parameters(query))
        with _understood(self._base):
            listed = msgspec.json.decode(response.content)["data"]
            jobs = [catalog.decode_job(fields) for fields in listed]
            return FoundJobs(int(response.headers[_MATCHED]), jobs)

    def update_job(self, job_id: str, changes: JobChanges) -> Job:
        """Change a job's status, progress or details."""
        return self._job("PATCH", _path(job_id), catalog.encode_job_changes(changes))

    def cancel_job(self, job_id: str) -> Job:
        """End a job that has not started, ask a running one to stop."""
        return self._job("POST", _path(job_id, "cancel"), b"")

    def delete_job(self, job_id: str) -> None:
        """Remove a job and everything of it."""
        self._content("DELETE", _path(job_id))

    def open_attempt(
        self, job_id: str, from_step: int | None = None, open_id: str | None = None
    ) -> Attempt:
        """Open the next attempt."""
        fields = {"from_step": from_step, "id": open_id}
        given = {name: value for name, value in fields.items() if value is not None}
        answer = self._send("POST", _path(job_id, "attempts"), catalog.encode(given))
        return catalog.decode_attempt(answer)

    def attempts(self, job_id: str) -> Sequence[Attempt]:
        """The job's attempts by number."""
        return [catalog.decode_attempt(f) for f in self._list(job_id, "attempts")]

    def add_event(self, job_id: str, event: Event) -> Event:
        """Append an event, or answer the one of its id."""
        body = catalog.encode_event(event)
        return catalog.decode_event(self._send("POST", _path(job_id, "events"), body))

    def events(self, job_id: str) -> Sequence[Event]:
        """The job's events, oldest first."""
        return [catalog.decode_event(f) for f in self._list(job_id, "events")]

    def add_checkpoint(self, job_id: str, checkpoint: Checkpoint) -> Checkpoint:
        """Append a checkpoint, or answer the one of its id."""
        body = catalog.encode(catalog.checkpoint_fields(checkpoint))
        return catalog.decode_checkpoint(self._send("POST", _path(job_id, "checkpoints"), body))

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """The job's checkpoints, oldest first."""
        return [catalog.decode_checkpoint(f) for f in self._list(job_id, "checkpoints")]

    # ------------------------------------------------------------ share links

    def create_share(
        self,
        jobs: Sequence[str],
        seconds: int,
        *,
        name: str | None = None,
        key_id: str | None = None,
    ) -> tuple[Share, str]:
        """A new share link of these jobs, and its token; it dies with the key of this store."""
        fields = {"jobs": jobs, "expires_in": seconds, "name": name}
        with _understood(self._base):
            answer = self._send("POST", "/shares", catalog.encode(fields))
            return access.decode_share(answer), answer["token"]

    def shares(self) -> Sequence[Share]:
        """The project's share links, expired and revoked ones too, newest first."""
        with _understood(self._base):
            return [access.decode_share(fields) for fields in self._send("GET", "/shares")["data"]]

    def revoke_share(self, share_id: str) -> Share:
        """Make a share link useless from now on."""
        with _understood(self._base):
            path = f"/shares/{quote(share_id, safe='')}"
            return access.decode_share(self._send("DELETE", path))

    def _job(self, method: str, path: str, body: bytes | None = None) -> Job:
        with _understood(self._base):
            return catalog.decode_job(self._send(method, path, body))

    def _list(self, job_id: str, what: str) -> list[dict[str, Any]]:
        with _understood(self._base):
            items: list[dict[str, Any]] = self._send("GET", _path(job_id, what))["data"]
            return items


def _path(job_id: str, rest: str = "") -> str:
    path = f"/fine-tunes/{quote(job_id, safe='')}"
    return f"{path}/{rest}" if rest else path


def _rows(response: httpx2.Response) -> Iterator[bytes]:
    """Chunks of whole rows from the bytes of an NDJSON answer."""
    rest = b""
    for part in response.iter_bytes(_CHUNK):
        whole, newline, rest = (rest + part).rpartition(b"\n")
        if newline:
            yield whole.replace(b"\n", ROW_SEPARATOR)
    if rest:
        raise errors.StoreUnavailable("the answer ended inside a row")


def _change(event: Mapping[str, str]) -> Change:
    cursor, data = event["id"], event["data"].encode()
    if event["event"] == "snapshot":
        return SnapshotArrived(cursor, data)
    fields = msgspec.json.decode(data)
    if event["event"] == "status":
        return StatusChanged(cursor, fields["status"])
    return Superseded(cursor, fields["attempt"], fields["from_step"])


@contextmanager
def _understood(base: str) -> Iterator[None]:
    """Raise what comes of an answer that is not this API's as an error that says so."""
    try:
        yield
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise _foreign(base) from error


def _foreign(base: str) -> errors.StoreUnavailable:
    return errors.StoreUnavailable(f"{base} answers, but not as a tunelog service does")


@contextmanager
def _translated(base: str) -> Iterator[None]:
    """Raise the transport's errors as ours."""
    try:
        yield
    except httpx2.InvalidURL as error:
        raise errors.InvalidRequest(f"{base}: {error}") from error
    except httpx2.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise errors.StoreUnavailable(f"{base} cannot be reached: {reason}") from error


def _error(response: httpx2.Response) -> errors.TunelogError:
    """The error that an answer tells of."""
    try:
        fields = msgspec.json.decode(response.content)["error"]
        message, param = fields["message"], fields.get("param")
    except (msgspec.DecodeError, TypeError, KeyError, AttributeError):
        message, param = f"the service answered {response.status_code}", None
    status = response.status_code
    away = status > 500 or status < 400  # a redirect is none of this API's
    kind = _ERRORS.get(status, errors.StoreUnavailable if away else errors.StoreError)
    error = kind(message, param=param)
    if isinstance(error, errors.StoreError):
        error.retry_after = _seconds(response.headers.get("retry-after", ""))
    return error


def _seconds(retry_after: str) -> float | None:
    """The wait that a Retry-After asks for: seconds or an HTTP date (RFC 9110, section 10.2.3)."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
