"""Share links and what sessions are signed with, from every backend."""

from __future__ import annotations

import msgspec
import pytest

from tests.store.conftest import Clock
from tunelog.access import Principal
from tunelog.backends.sqlite import SqliteBackend
from tunelog.errors import NotFound, Unauthenticated
from tunelog.model import JobDetails
from tunelog.store import Backend, Store

SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def some_jobs(request: pytest.FixtureRequest) -> None:
    if "store" in request.fixturenames:
        for job_id in ("ft-a", "ft-b"):
            request.getfixturevalue("store").create_job(JobDetails(model="m"), job_id)


def test_a_share_is_of_jobs_for_a_time(store: Store, clock: Clock) -> None:
    share, token = store.create_share(["ft-b", "ft-a", "ft-b"], 60, name="review")
    assert share.id.startswith("sh-")
    assert token.startswith("tls-")
    assert len(token) == 47
    assert (share.jobs, share.name, share.revoked_at) == (("ft-b", "ft-a"), "review", None)
    assert share.expires_at - share.created_at == 60 * SECOND
    assert abs(share.created_at - clock.now) < SECOND
    assert store.shares() == [share]


def test_shares_are_listed_newest_first_revoked_ones_too(store: Store) -> None:
    first, second, third = (store.create_share(["ft-a"], 60)[0] for _ in range(3))
    revoked = store.revoke_share(second.id)
    assert revoked.revoked_at is not None
    assert msgspec.structs.replace(revoked, revoked_at=None) == second
    assert store.shares() == [third, revoked, first]
    assert store.revoke_share(second.id) == revoked  # again changes nothing


def test_only_jobs_that_there_are_can_be_shared(store: Store) -> None:
    with pytest.raises(NotFound, match="no job ft-nobody"):
        store.create_share(["ft-a", "ft-nobody"], 60)
    assert store.shares() == []


def test_a_share_that_there_is_not_cannot_be_revoked(store: Store) -> None:
    with pytest.raises(NotFound, match="no share sh-nobody"):
        store.revoke_share("sh-nobody")


# ---------------------------------------------------------------- who it lets in


@pytest.fixture
def shared(backend: Backend) -> Store:
    """The store of a project `shared` with a job."""
    store = backend.store(backend.create_project("shared"))
    store.create_job(JobDetails(model="m"), "ft-a")
    return store


def test_a_token_is_its_share_until_it_expires(
    backend: Backend, shared: Store, clock: Clock
) -> None:
    share, token = shared.create_share(["ft-a"], 60)
    principal = Principal(share, backend.create_project("shared"))
    assert backend.authenticate(token) == principal
    assert principal.share == share
    assert [scope for scope in ("read", "write", "admin") if principal.may(scope)] == ["read"]
    clock.now = share.expires_at - 1_001
    assert backend.authenticate(token) == principal
    clock.now = share.expires_at - 1_000
    with pytest.raises(Unauthenticated, match="does not exist, has expired or was revoked"):
        backend.authenticate(token)


def test_a_share_that_is_revoked_lets_nobody_in(backend: Backend, shared: Store) -> None:
    (share, token), (_, other) = (shared.create_share(["ft-a"], 60) for _ in range(2))
    shared.revoke_share(share.id)
    with pytest.raises(Unauthenticated):
        backend.authenticate(token)
    assert backend.authenticate(other).share is not None
    for wrong in ("tls-", "tls-nobodys", other[:-1], token.replace("tls-", "tl-")):
        with pytest.raises(Unauthenticated):
            backend.authenticate(wrong)


def test_a_share_dies_with_the_key_that_it_was_made_with(backend: Backend, shared: Store) -> None:
    project = backend.create_project("shared")
    (key, _), (other, _) = (backend.create_key(project, ["admin"]) for _ in range(2))
    mine, token = shared.create_share(["ft-a"], 60, key_id=key.id)
    _, theirs = shared.create_share(["ft-a"], 60, key_id=other.id)
    _, nobodys = shared.create_share(["ft-a"], 60)
    revoked = backend.revoke_key(key.id)
    assert [s.revoked_at for s in shared.shares() if s.id == mine.id] == [revoked.revoked_at]
    with pytest.raises(Unauthenticated):
        backend.authenticate(token)
    for good in (theirs, nobodys):
        assert backend.authenticate(good).project == project


def test_a_project_knows_its_own_shares_alone(backend: Backend, shared: Store) -> None:
    share, token = shared.create_share(["ft-a"], 60)
    other = backend.store(backend.create_project("other"))
    assert other.shares() == []
    with pytest.raises(NotFound):
        other.revoke_share(share.id)
    with pytest.raises(NotFound):
        other.create_share(["ft-a"], 60)
    assert backend.authenticate(token).project.name == "shared"


# ---------------------------------------------------------------- keys by their ids


def test_a_key_is_known_by_its_id_until_it_is_revoked(backend: Backend) -> None:
    project = backend.create_project("default")
    key, secret = backend.create_key(project, ["read"])
    assert backend.principal(key.id) == backend.authenticate(secret) == Principal(key, project)
    backend.revoke_key(key.id)
    for wrong in (key.id, "key-nobody", "", secret):
        with pytest.raises(Unauthenticated, match="this API key does not exist or was revoked"):
            backend.principal(wrong)


def test_the_signing_key_is_long_random_and_stays(backend: Backend) -> None:
    signing_key = backend.signing_key()
    assert len(signing_key) == 32
    assert backend.signing_key() == signing_key
    if isinstance(backend, SqliteBackend):
        path = backend._database.path
        again, elsewhere = SqliteBackend(path), SqliteBackend(path.with_name("other.db"))
        assert again.signing_key() == signing_key
        assert elsewhere.signing_key() != signing_key
        again.close()
        elsewhere.close()
