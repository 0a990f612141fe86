"""Ids that sort by the time they were made."""

from __future__ import annotations

import os
import time


def new_token() -> str:
    """The 32 hexadecimal digits of a UUIDv7 (RFC 9562): milliseconds of now, then random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{value:032x}"


def new_id(prefix: str) -> str:
    """`prefix` and a UUIDv7 in its usual form."""
    return id_of(prefix, new_token())


def id_of(prefix: str, digits: str) -> str:
    """`prefix` and 32 hexadecimal digits in the form of a UUID."""
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return prefix + "-".join(parts)
