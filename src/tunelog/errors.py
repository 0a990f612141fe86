"""Every error that tunelog raises on purpose.

A docstring's first line is what went wrong in general; the message says what, where and why.
Nothing here knows of HTTP: `server/errors.py` and `backends/remote.py` hold the two tables.

::

    TunelogError
    ├── InvalidRequest        the caller's input is wrong; nothing was stored
    │   └── LimitExceeded     … because it is larger than a limit
    ├── Unauthenticated       no key, or one that does not exist
    ├── Forbidden             the key lacks the scope
    ├── NotFound              no such job, key or project (or it is another project's)
    ├── Conflict              the job's status does not allow it
    └── StoreError            the store cannot do its work
        ├── StoreUnusable     … and never will as it stands: wrong file, newer version
        └── StoreUnavailable  … now; trying again may help
"""

from __future__ import annotations


class TunelogError(Exception):
    """The base of all errors that tunelog raises on purpose."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        """`message` says what is wrong; `param` names the parameter to blame, if one is."""
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(TunelogError):  # noqa: N818 - named for what happened, as the API's error types
    """The caller's input is wrong; nothing was stored."""


class LimitExceeded(InvalidRequest):
    """The caller's input is larger than a limit of the service; nothing was stored."""


class Unauthenticated(TunelogError):  # noqa: N818
    """No API key was given, or one that does not exist or was revoked."""


class Forbidden(TunelogError):  # noqa: N818
    """The API key does not have the scope that the call needs."""


class NotFound(TunelogError):  # noqa: N818
    """There is no such thing in this project."""


class Conflict(TunelogError):  # noqa: N818
    """The job's status does not allow the call."""


class StoreError(TunelogError):
    """The store cannot do its work.

    `retry_after` is how many seconds a service asked to wait before trying again, if it did.
    """

    retry_after: float | None = None


class StoreUnusable(StoreError):  # noqa: N818
    """The store cannot be used as it stands: not ours, of a newer version, read-only."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The store cannot do its work now: disk full, locked, away. Trying again may help."""
