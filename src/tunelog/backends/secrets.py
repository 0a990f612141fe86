"""API keys: how a secret is made, and what of it is kept."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "tl-"


def new_secret() -> str:
    """A key's secret: 256 random bits, URL-safe."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret. It is random and long, so a plain SHA-256 cannot be reversed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
