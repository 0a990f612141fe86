"""Secrets of API keys and share links: how they are made, and what of them is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from tunelog.access import ApiKey, Project, Scope, Share
from tunelog.ids import new_id

KEY = "tl-"
SHARE = "tls-"

UNKNOWN_KEY = "this API key does not exist or was revoked"
UNKNOWN_SHARE = "this share link does not exist, has expired or was revoked"


def new_secret(prefix: str = KEY) -> str:
    """A key's secret, or a share link's token: 256 random bits, URL-safe."""
    return prefix + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret. It is random and long, so a plain SHA-256 cannot be reversed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def new_signing_key() -> bytes:
    """What sessions are signed with: 256 random bits."""
    return secrets.token_bytes(32)


def new_key(project: Project, scopes: Sequence[Scope], now: int) -> tuple[ApiKey, str]:
    """A key of a project, and its secret."""
    secret = new_secret()
    key = ApiKey(
        id=new_id("key-"),
        project=project.id,
        scopes=tuple(scopes),
        hint=secret[-4:],
        created_at=now,
    )
    return key, secret


def new_share(jobs: Sequence[str], seconds: int, name: str | None, now: int) -> tuple[Share, str]:
    """A share link of these jobs, each named once, that is good for so many seconds; its token."""
    share = Share(
        id=new_id("sh-"),
        jobs=tuple(dict.fromkeys(jobs)),
        created_at=now,
        expires_at=now + seconds * 1_000_000_000,
        name=name,
    )
    return share, new_secret(SHARE)
