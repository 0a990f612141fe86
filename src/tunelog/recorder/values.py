"""What a trainer logs, as the text of a snapshot's values; what cannot be kept is named.

Names: `loss` under the prefix `train` is `train/loss`; a name with a slash in it stays as it is.
Values: int, float, and what holds one number: numpy scalars, 0-dimensional tensors, Decimal. For a
tensor on an accelerator the number has to be fetched, which waits for it and for nothing else.
"""

from __future__ import annotations

import binascii
import contextlib
import json
import math
import operator
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from tunelog.errors import InvalidRequest
from tunelog.recorder.records import INT64_MAX, INT64_MIN

MAX_VALUES = 10_000
"""Values of one snapshot, and characters of a name: the service's own limits by default."""
MAX_NAME = 512

Refused = list[tuple[str, str]]
"""Keys that could not be kept, each with the reason."""

_RESERVED = frozenset({"timestamp", "train/global_step", "train/nonfinite", "eval/nonfinite"})
_FLOATS = {float}
_NULL = "null"
_FLOATS_FIELD = ',"floats":"'
_MOST_TEMPLATES = 64
_MOST_REMEMBERED = 1_000


class Unfit(InvalidRequest):
    """Something given to the recorder that it cannot keep; the message is the reason."""


class _Template(NamedTuple):
    """What is known of a set of keys.

    Attributes:
        keys: their text, with a %s for each value.
        floats: the text before the numbers' bytes if all of them are floats.
        pack: makes these bytes.
    """

    keys: str
    floats: str
    pack: Callable[..., bytes]


class ValuesEncoder:
    """Turns the dicts that one trainer logs into JSON text: the end of a snapshot's record.

    Trainers log the same keys again and again, so for each set of keys the text around the numbers
    is made once. Floats then go as their bytes, in base64: to write one in decimals takes longer
    than all else together (1.3 of about 2 microseconds a value).
    """

    def __init__(self, suffix: str = "") -> None:
        """`suffix` is put behind every name."""
        self._suffix = suffix
        self._templates: dict[tuple[str, tuple[Any, ...]], _Template] = {}

    def encode(self, values: Mapping[str, Any], prefix: str) -> tuple[str | None, Refused]:
        """`"values":{…}` and, if need be, `,"floats":"…"` of the values that can be kept.

        None if none of them can; and those that cannot. Raises `Unfit` if `values` is no dict or
        too large.
        """
        if type(values) is not dict and not isinstance(values, Mapping):
            raise Unfit(f"{_noun(values)}; a dict of names and numbers is wanted")
        numbers = tuple(values.values())
        template = self._templates.get((prefix, tuple(values)))
        if template is not None:
            if set(map(type, numbers)) == _FLOATS:
                return template.floats + _base64(template.pack(*numbers)), []
            with contextlib.suppress(Exception):  # the slow way finds which value it was
                return _filled(template, tuple(map(number, numbers))), []
        return self._encode_slowly(values, prefix)

    def _encode_slowly(self, values: Mapping[str, Any], prefix: str) -> tuple[str | None, Refused]:
        if len(values) > MAX_VALUES:
            raise Unfit(f"{len(values)} values in one call, more than {MAX_VALUES}")
        kept: dict[str, str] = {}
        refused: Refused = []
        names: dict[str, None] = {}
        for key, value in values.items():
            try:
                name = json.dumps(metric_name(key, prefix, self._suffix))
                if name in names:
                    raise Unfit("given twice in one call")
                names[name] = None
                kept[name] = _text(number(value))
            except Exception as error:  # a tensor's own errors, too: log() does not raise
                refused.append((str(key), _reason(error)))
        if len(names) == len(values) <= _MOST_REMEMBERED:
            self._remember(prefix, tuple(values), names)
        if refused and not kept:
            return None, refused
        return f'"values":{{{",".join(f"{name}:{text}" for name, text in kept.items())}}}', refused

    def _remember(self, prefix: str, keys: tuple[Any, ...], names: Iterable[str]) -> None:
        if len(self._templates) >= _MOST_TEMPLATES:
            self._templates.clear()
        literal = ",".join(f"{name.replace('%', '%%')}:%s" for name in names)
        template = f'"values":{{{literal}}}'
        floats = template % ((_NULL,) * len(keys)) + _FLOATS_FIELD
        pack = struct.Struct(f"<{len(keys)}d").pack
        self._templates[prefix, keys] = _Template(template, floats, pack)


def _filled(template: _Template, numbers: tuple[int | float, ...]) -> str:
    """The text of a template and its numbers, the floats among them as bytes."""
    text = template.keys % tuple(
        [_NULL if type(value) is float else str(value) for value in numbers]
    )
    floats = [value for value in numbers if type(value) is float]
    if not floats:
        return text
    return text + _FLOATS_FIELD + _base64(struct.pack(f"<{len(floats)}d", *floats))


def _base64(content: bytes) -> str:
    return binascii.b2a_base64(content, newline=False).decode("ascii") + '"'


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


def _text(value: int | float) -> str:
    if value - value == 0:
        return repr(value)
    if math.isnan(value):
        return '"NaN"'
    return '"Infinity"' if value > 0 else '"-Infinity"'


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
