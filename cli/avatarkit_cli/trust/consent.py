"""The person's consent: a text, or a record in a TOML file."""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any

from avatarkit.config.options import did_you_mean
from avatarkit.errors import ConfigError, InputError
from avatarkit.utils.files import disk_errors, require_file, sha256_of
from avatarkit.utils.text import one_line, shortened

__all__ = ["SCOPES", "read_consent"]

SCOPES = ("private", "commercial", "training", "voice")
_FIELDS = ("person", "scope", "given", "until", "evidence", "note")
_MOST_BYTES = 1 << 20
_LONGEST = 2000  # characters of a note


def read_consent(text: str | None) -> str | dict[str, Any] | None:
    """Return the consent that ``--consent`` names: the text itself, or the record in a file that ends in .toml.

    The file holds ``person``; ``scope``, a list of ``SCOPES``; and, where they are known, ``given`` and ``until`` (dates),
    ``evidence`` (a file, of which only the sha256 is kept) and ``note``.

    Raises:
        InputError: there is no such file, or no such evidence.
        ConfigError: the record is incomplete or wrong.
    """
    if text is None or not text.lower().endswith(".toml") or "\n" in text:
        return text
    path = Path(text)
    if not path.is_file():
        raise InputError(f"There is no record of consent {path}.")
    require_file(path, "record of consent", _MOST_BYTES)
    try:
        with disk_errors(path):
            values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OverflowError) as error:
        raise ConfigError(f"The record of consent {path} is not TOML ({shortened(str(error))}).") from error
    for name in values:
        if name not in _FIELDS:
            hint = did_you_mean(name, _FIELDS)
            raise ConfigError(f"{path}: {name!r} is unknown.{hint} A record of consent holds {', '.join(_FIELDS)}.")
    person, scope = _person(values.get("person"), path), _scope(values.get("scope"), path)
    given, until = _day(values.get("given"), "given", path), _day(values.get("until"), "until", path)
    if given and until and given > until:
        raise ConfigError(f"{path}: the consent ends ({until}) before it begins ({given}).")
    note = values.get("note", "")
    if not isinstance(note, str) or len(note) > _LONGEST:
        raise ConfigError(f"{path}: note must be text of at most {_LONGEST} characters.")
    end = f" until {until}" if until else ""
    return {
        "person": person,
        "scope": scope,
        "given": given,
        "until": until,
        "evidence": _evidence(values.get("evidence"), path),
        "text": f"{person} agrees to {' and '.join(scope)} use{end}. {one_line(note)}".strip(),
    }


def _person(value: Any, path: Path) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        raise ConfigError(f'{path}: say who agreed, as in person = "Ada Lovelace".')
    return one_line(value.strip())


def _scope(value: Any, path: Path) -> list[str]:
    known = ", ".join(SCOPES)
    if not isinstance(value, list) or not value:
        raise ConfigError(f'{path}: say what for, as in scope = ["private"]; it may hold {known}.')
    for name in value:
        if name not in SCOPES:
            hint = did_you_mean(str(name), SCOPES)
            raise ConfigError(f"{path}: scope {shortened(str(name))!r} is unknown.{hint} It may hold {known}.")
    return list(dict.fromkeys(value))


def _day(value: Any, name: str, path: Path) -> str:
    if value is None:
        return ""
    if isinstance(value, date):
        return (value.date() if isinstance(value, datetime) else value).isoformat()
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise ConfigError(f"{path}: {name} must be a day, as in {name} = 2027-12-31.") from None


def _evidence(value: Any, path: Path) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f'{path}: evidence must be the name of a file, as in evidence = "agreement.pdf".')
    file = path.parent / value
    if not file.is_file():
        raise InputError(f"{path}: there is no evidence {file}.")
    with disk_errors(file):
        return sha256_of(file)
