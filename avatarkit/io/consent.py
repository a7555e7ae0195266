"""The person's consent: a text, or a record in a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from avatarkit.config.options import did_you_mean
from avatarkit.errors import ConfigError
from avatarkit.utils.files import disk_errors, read_text, require_file, sha256_of
from avatarkit.utils.paths import expand
from avatarkit.utils.text import one_line, shortened

__all__ = ["SCOPES", "Record", "read_consent"]

SCOPES = ("private", "commercial", "training", "voice")
_FIELDS = ("person", "scope", "given", "until", "evidence", "note")
_MOST_BYTES = 1 << 20
_LONGEST = 2000  # characters of a note


class Record(dict[str, Any]):
    """A record of consent that was checked; ``read_consent`` returns it as it is."""


def read_consent(given: str | Path | Mapping[str, Any] | None) -> str | dict[str, Any] | None:
    """Return a consent as the manifest holds it: a text, or a checked record.

    Args:
        given: the text; the path of a TOML file, or a text of one line that ends in .toml; or the fields of such a file. They
            are ``person``; ``scope``, a list of ``SCOPES``; and, where they are known, ``given`` and ``until`` (dates),
            ``evidence`` (a file, of which only the sha256 is kept) and ``note``. A ``Record`` was checked before.

    Returns:
        None or the text; or person, scope, given and until (YYYY-MM-DD or ""), evidence (sha256 or None), and text: a sentence.

    Raises:
        InputError: there is no such file, or no such evidence.
        ConfigError: the record is incomplete or wrong.
    """
    if isinstance(given, Mapping):
        return given if isinstance(given, Record) else _record(given, "consent", Path())
    if given is None or (isinstance(given, str) and (not given.lower().endswith(".toml") or "\n" in given)):
        return given
    path = expand(str(given))
    try:
        values = tomllib.loads(read_text(path, "record of consent", _MOST_BYTES))
    except (ValueError, RecursionError, OverflowError) as error:
        raise ConfigError(f"The record of consent {path} is not TOML ({shortened(str(error))}).") from error
    return _record(values, str(path), path.parent)


def _record(values: Mapping[str, Any], where: str, folder: Path) -> Record:
    """Return a checked record; ``where`` is what messages call it, and evidence lies in ``folder``."""
    for name in values:
        if name not in _FIELDS:
            hint = did_you_mean(str(name), _FIELDS)
            raise ConfigError(f"{where}: {shortened(str(name))!r} is unknown.{hint} It may hold {', '.join(_FIELDS)}.")
    person, scope = _person(values.get("person"), where), _scope(values.get("scope"), where)
    begin, end = _day(values.get("given"), "given", where), _day(values.get("until"), "until", where)
    if begin and end and begin > end:
        raise ConfigError(f"{where}: the consent ends ({end}) before it begins ({begin}).")
    note = values.get("note", "")
    if not isinstance(note, str) or len(note) > _LONGEST:
        raise ConfigError(f"{where}: note must be text of at most {_LONGEST} characters.")
    until = f" until {end}" if end else ""
    return Record(
        person=person,
        scope=scope,
        given=begin,
        until=end,
        evidence=_evidence(values.get("evidence"), where, folder),
        text=f"{person} agrees to {' and '.join(scope)} use{until}. {one_line(note)}".strip(),
    )


def _person(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        raise ConfigError(f'{where}: say who agreed, as in person = "Ada Lovelace".')
    return one_line(value.strip())


def _scope(value: Any, where: str) -> list[str]:
    known = ", ".join(SCOPES)
    if not isinstance(value, (list, tuple)) or not value:
        raise ConfigError(f'{where}: say what for, as in scope = ["private"]; it may hold {known}.')
    for name in value:
        if name not in SCOPES:
            hint = did_you_mean(str(name), SCOPES)
            raise ConfigError(f"{where}: scope {shortened(str(name))!r} is unknown.{hint} It may hold {known}.")
    return list(dict.fromkeys(value))


def _day(value: Any, name: str, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, date):
        return (value.date() if isinstance(value, datetime) else value).isoformat()
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: {name} must be a day, as in {name} = 2027-12-31.") from None


def _evidence(value: Any, where: str, folder: Path) -> str | None:
    if value is None:
        return None
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise ConfigError(f'{where}: evidence must be the name of a file, as in evidence = "agreement.pdf".')
    file = folder / expand(str(value))
    require_file(file, "evidence")
    with disk_errors(file):
        return sha256_of(file)
