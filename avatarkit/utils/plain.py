"""Plain values from JSON and TOML of any origin, within limits; each fault is one sentence.

Refused are nesting beyond ``MOST_LEVELS``, numbers that are not finite or beyond 64 bits, names that stand twice, dates, and
text that is not valid Unicode. Light to import.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from avatarkit.utils.text import shortened

__all__ = ["MOST_LEVELS", "BadText", "parse_json", "parse_toml", "parse_value"]

MOST_LEVELS = 32  # of nesting; ours have at most 6
_MOST_DIGITS = 40  # of one number as text
_LARGEST = 2**63


class BadText(ValueError):
    """Text is not valid JSON or TOML within our bounds; the message says what is wrong, without a full stop."""


def parse_json(text: str | bytes) -> Any:
    """Plain values of a JSON text.

    Raises:
        BadText: it is not JSON, or beyond our bounds.
    """
    try:
        value = json.loads(text, parse_int=_whole, parse_float=_number, parse_constant=_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise BadText(f"it is nested deeper than {MOST_LEVELS} levels") from None
    except UnicodeDecodeError:
        raise BadText("it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise BadText(f"it is not valid JSON ({error.msg} in line {error.lineno})") from error
    _check(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises:
        BadText: it is not TOML, or beyond our bounds.
    """
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise BadText(f"it is nested deeper than {MOST_LEVELS} levels") from None
    except tomllib.TOMLDecodeError as error:
        raise BadText(f"it is not valid TOML ({shortened(str(error))})") from error
    except (ValueError, OverflowError) as error:  # numbers of thousands of digits, impossible dates
        raise BadText(f"it holds an impossible number or date ({shortened(str(error))})") from error
    _check(value)
    return value


def parse_value(text: str) -> Any:
    """Return the value of ``option=value`` on a command line: a value of TOML, or else the words as they stand.

    Raises:
        BadText: it is beyond our bounds.
    """
    if "\n" not in text and "\r" not in text:
        try:
            return parse_toml(f"value = {text}")["value"]
        except BadText as error:
            if not isinstance(error.__cause__, tomllib.TOMLDecodeError):
                raise
    _check(text)
    return text


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise BadText(f"it holds a number of {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadText(f"it holds the number {shortened(text)}, which is too large")
    return value


def _constant(text: str) -> float:
    raise BadText(f"it holds {text}, which is not a number in JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise BadText(f"it holds {shortened(twice)!r} twice")
    return found


def _check(value: Any) -> None:
    """Check what the parsers let through; iterative, so that no depth can hurt."""
    level, values = 0, [value]
    while values:
        if level > MOST_LEVELS:
            raise BadText(f"it is nested deeper than {MOST_LEVELS} levels")
        below: list[Any] = []
        for v in values:
            if isinstance(v, Mapping):
                below += v.keys()
                below += v.values()
            elif isinstance(v, list):
                below += v
            elif isinstance(v, str):
                if not v.isascii() and any(0xD800 <= ord(c) < 0xE000 for c in v):
                    raise BadText("it holds text that is not valid Unicode")
            elif isinstance(v, float):
                if not math.isfinite(v):
                    raise BadText(f"it holds {v}, which is not a finite number")
            elif isinstance(v, int):
                if abs(v) > _LARGEST:
                    raise BadText("it holds a whole number beyond 64 bits")
            elif v is not None:
                raise BadText(f"it holds a {type(v).__name__}, where numbers, text, lists and tables may stand")
        level, values = level + 1, below
