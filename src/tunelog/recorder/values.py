"""What a trainer logs, as the records of snapshots; what cannot be kept is named.

Names: `loss` under the prefix `train` is `train/loss`; a name with a slash in it stays as it is.
Values: int, float, and what holds one number: numpy scalars, 0-dimensional tensors, Decimal. For a
tensor on an accelerator the number has to be fetched, which waits for it and for nothing else.
"""

from __future__ import annotations

import itertools
import math
import operator
import struct
from binascii import b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

from tunelog.errors import InvalidRequest
from tunelog.recorder.records import INT64_MAX, INT64_MIN, PACKED, PACKED_END, packed_head
from tunelog.recorder.spool import Pattern

MAX_VALUES = 10_000
"""Values of one snapshot, and characters of a name: the service's own limits by default."""
MAX_NAME = 512

Lost = tuple[str, str]
"""A key that could not be kept, and the reason."""

_RESERVED = frozenset({"timestamp", "train/global_step", "train/nonfinite", "eval/nonfinite"})
_NONE: Sequence[Lost] = ()
_CODES = {float: "d", int: "q"}
_MOST_TEMPLATES = 64
_MOST_REMEMBERED = 1_000


class Unfit(InvalidRequest):
    """Something given to the recorder that it cannot keep; the message is the reason."""


class _Template(Pattern):
    """What the records of the snapshots of some names and types have in common.

    Attributes:
        pack: makes the bytes of a seq, a step, a time and the values.
    """

    __slots__ = ("pack",)

    def __init__(self, names: list[str], types: Iterable[type]) -> None:
        codes = "".join(_CODES[type_] for type_ in types)
        super().__init__(*packed_head(names, codes))
        self.pack = struct.Struct(PACKED + codes).pack


class SnapshotEncoder:
    """Turns the dicts that one trainer logs into records, and numbers them.

    Trainers log the same keys again and again, so what comes before the numbers in a record is made
    once for each set of keys and types, its checksum included. The numbers then go as their bytes,
    in base64: to write a float in decimals takes longer than all else together (1.3 of about 2
    microseconds a value).
    """

    def __init__(self, suffix: str = "") -> None:
        """`suffix` is put behind every name."""
        self._suffix = suffix
        self._seq = itertools.count()
        self._templates: dict[tuple[Any, ...], _Template] = {}

    def encode(
        self, values: Mapping[str, Any], prefix: str, step: int, at: int
    ) -> tuple[bytes | None, Sequence[Lost]]:
        """The record of the values that can be kept, None if none of them can; and the others.

        Raises `Unfit` if `values` is no dict or too large, `OSError` if the record is.
        """
        if type(values) is not dict and not isinstance(values, Mapping):
            raise Unfit(f"{_noun(values)}; a dict of names and numbers is wanted")
        numbers = tuple(values.values())
        template = self._templates.get((prefix, *values, *map(type, numbers)))
        if template is None:
            return self._encode_slowly(values, prefix, step, at)
        try:
            packed = template.pack(next(self._seq), step, at, *numbers)
        except struct.error:  # an integer beyond int64
            return self._encode_slowly(values, prefix, step, at)
        rest = b2a_base64(packed, newline=False) + PACKED_END
        return template.line % (crc32(rest, template.crc), rest), _NONE

    def _encode_slowly(
        self, values: Mapping[str, Any], prefix: str, step: int, at: int
    ) -> tuple[bytes | None, Sequence[Lost]]:
        """The same for what was not seen before, and for values that are no plain numbers."""
        if len(values) > MAX_VALUES:
            raise Unfit(f"{len(values)} values in one call, more than {MAX_VALUES}")
        kept, refused = _numbers(values)
        template = self._template(kept, prefix, refused)
        if refused and not kept:
            return None, refused
        packed = template.pack(next(self._seq), step, at, *kept.values())
        rest = b2a_base64(packed, newline=False) + PACKED_END
        return template.line % (crc32(rest, template.crc), rest), refused

    def _template(
        self, kept: dict[Any, int | float], prefix: str, refused: list[Lost]
    ) -> _Template:
        """The template of these; a key that means no metric goes from `kept` to `refused`."""
        known = (prefix, *kept, *map(type, kept.values()))
        template = self._templates.get(known)
        if template is not None:
            return template
        names, misnamed = self._names(kept, prefix)
        for key, reason in misnamed.items():
            refused.append((str(key), reason))
            del kept[key]
        template = _Template(names, map(type, kept.values()))
        if not misnamed and len(names) <= _MOST_REMEMBERED:
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            self._templates[known] = template
        return template

    def _names(self, keys: Iterable[Any], prefix: str) -> tuple[list[str], dict[Any, str]]:
        """The metrics that keys mean; and the keys that mean none, each with the reason."""
        names: dict[str, None] = {}
        misnamed = {}
        for key in keys:
            try:
                name = metric_name(key, prefix, self._suffix)
                if name in names:
                    raise Unfit("given twice in one call")
                names[name] = None
            except Exception as error:
                misnamed[key] = _reason(error)
        return [*names], misnamed


def _numbers(values: Mapping[Any, Any]) -> tuple[dict[Any, int | float], list[Lost]]:
    """The values that are numbers; and the keys of the others, each with the reason."""
    kept: dict[Any, int | float] = {}
    refused: list[Lost] = []
    for key, value in values.items():
        try:
            kept[key] = number(value)
        except Exception as error:  # a tensor's own errors, too: log() does not raise
            refused.append((str(key), _reason(error)))
    return kept, refused


def metric_name(key: object, prefix: str, suffix: str = "") -> str:
    """The metric that a key means. Raises `Unfit` if it cannot be one."""
    if not isinstance(key, str):
        raise Unfit(f"the key is {_noun(key)}; a string is wanted")
    if not key:
        raise Unfit("an empty key")
    name = key if "/" in key or not prefix else f"{prefix.rstrip('/')}/{key}"
    if name in _RESERVED:
        raise Unfit(f"{name} is the service's own")
    name += suffix
    if len(name) > MAX_NAME:
        raise Unfit(f"a name of {len(name)} characters, more than {MAX_NAME}")
    if not name.isprintable() and any(map(_is_control, name)):
        raise Unfit("a control character in the name")
    return name


def _is_control(letter: str) -> bool:
    return letter < " " or "\x7f" <= letter <= "\x9f" or "\ud800" <= letter <= "\udfff"


def number(value: Any) -> int | float:
    """The number that a value is, exactly. Raises `Unfit` if it is none."""
    if type(value) is float:
        return value
    if isinstance(value, (bool, str, bytes)) or value is None:
        raise Unfit(f"{_noun(value)}; a number is wanted")
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise Unfit("an integer beyond int64")
        return int(value)
    if isinstance(value, float):
        return float(value)
    return _single(value)


def _single(value: Any) -> int | float:
    """The number in a scalar of numpy or a 0-dimensional tensor, or of a Decimal or Fraction."""
    if getattr(value, "ndim", 0):
        raise Unfit(f"of {value.ndim} dimensions; a single number is wanted")
    if callable(getattr(value, "item", None)):
        item = value.item()
        if isinstance(item, (bool, int, float)):
            return number(item)
        if isinstance(item, complex):
            raise Unfit("a complex number; a real one is wanted")
    if not hasattr(value, "__float__"):
        raise Unfit(f"{_noun(value)}; a number is wanted")
    converted = float(value)
    if math.isinf(converted) and value != converted:
        raise Unfit("a number beyond double")
    return converted


def whole(value: Any, name: str) -> int:
    """A step or a time: a whole number from 0 to 2**63 - 1. Raises `Unfit`."""
    if value is None:
        raise Unfit(f"{name} is missing")
    if isinstance(value, (bool, str)):
        raise Unfit(f"{name} is {_noun(value)}; a whole number is wanted")
    try:
        result = operator.index(value)
    except TypeError:
        converted = number(value)
        if not math.isfinite(converted) or converted != int(converted):
            raise Unfit(f"{name} is {converted}; a whole number is wanted") from None
        result = int(converted)
    if not 0 <= result <= INT64_MAX:
        raise Unfit(f"{name} is {result}; a whole number from 0 to 2**63 - 1 is wanted")
    return result


def _reason(error: Exception) -> str:
    if isinstance(error, Unfit):
        return error.message
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _noun(value: object) -> str:
    """What a value is, in words; without the value itself, which may be anything."""
    if value is None:
        return "None"
    names = {bool: "a boolean", str: "a string", bytes: "bytes", dict: "a dict", list: "a list"}
    return names.get(type(value), f"of type {type(value).__name__}")
