"""The photos of a batch: files, folders, globs and CSV files, with the consent of each person."""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avatarkit.config.options import did_you_mean
from avatarkit.errors import AvatarkitError, ConfigError, InputError
from avatarkit.io.consent import read_consent
from avatarkit.utils.files import relative_name, require_file
from avatarkit.utils.text import shortened

__all__ = ["Row", "read_consents", "read_photos"]

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".gif"}
_COLUMNS = ("photo", "name", "person", "consent", "preset")
_CONSENT_COLUMNS = ("photo", "consent", "person", "scope", "given", "until", "evidence", "note")
_MOST_BYTES = 500 << 20  # of a CSV file
_LONGEST_NAME = 150  # characters


@dataclass(frozen=True)
class Row:
    """One photo and how to build it.

    Attributes:
        photo: absolute path.
        name: of the avatar; "" = that of the file.
        person: number of the person from the left; None = the photo shows one.
        preset: of this photo; "" = the preset of the run.
        consent: as ``read_consent`` returns it.
        problem: why it cannot be built, if that is known already.
    """

    photo: Path
    name: str = ""
    person: int | None = None
    preset: str = ""
    consent: str | dict[str, Any] | None = None
    problem: str = ""


def read_photos(given: Iterable[Path], consents: Mapping[Path, Any] | None = None) -> Iterator[Row]:
    """Yield the photos that the user named, in the order of their names within each folder and glob.

    Args:
        given: photos, folders of photos, globs, or CSV files with the columns photo, name, person, consent and preset.
        consents: photo -> consent, see ``read_consents``; a photo that is not there has a problem.

    Raises:
        InputError: there is no such file, or no photo in a folder.
        ConfigError: a CSV file is wrong.
    """
    for path in given:
        for row in _rows(path):
            if consents is None:
                yield row
            elif row.photo in consents:
                yield _agreed(row, consents[row.photo])
            else:
                yield replace(row, consent=None, problem="The file of --consent-file has no row for it.")


def _rows(path: Path) -> Iterator[Row]:
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".")]
    elif path.suffix.lower() == ".csv":
        yield from _listed(path)
        return
    elif glob.has_magic(str(path)) and not path.exists():
        found = [p for p in map(Path, glob.iglob(str(path), recursive=True)) if p.is_file()]
    else:
        require_file(path, "photo")
        found = [path]
    if not found:
        raise InputError(f"There are no photos in {path}; name photos, folders, globs or a CSV file.")
    yield from (Row(p.absolute()) for p in sorted(found))


def _listed(path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV file; its paths are relative to its folder."""
    for where, values in _table(path, _COLUMNS):
        name, person = values.get("name", ""), values.get("person", "")
        if name and (len(name) > _LONGEST_NAME or len(getattr(relative_name(name), "parts", ())) != 1):
            raise ConfigError(f"{where}: {shortened(name)!r} cannot be the name of an avatar; use letters and digits.")
        if person and not (person.isdecimal() and int(person) >= 1):
            raise ConfigError(f"{where}: person must be a number from 1, from the left, not {shortened(person)!r}.")
        row = Row(_beside(path, values["photo"]), name, int(person) if person else None, values.get("preset", ""))
        yield _agreed(row, _consent_beside(path, values["consent"])) if values.get("consent") else row


def _agreed(row: Row, consent: Any) -> Row:
    """Return the row with its consent, or with what is wrong with it."""
    try:
        return replace(row, consent=read_consent(consent), problem="")
    except AvatarkitError as error:
        return replace(row, consent=None, problem=str(error))


def read_consents(path: Path) -> dict[Path, Any]:
    """Read ``--consent-file``: photo -> what ``read_consent`` takes.

    A row names its photo, and either ``consent``, as ``build --consent``, or the fields of a record: person, scope (separated
    by spaces), given, until, evidence and note.

    Raises:
        InputError: there is no such file.
        ConfigError: it is no such table, or names a photo twice.
    """
    found: dict[Path, Any] = {}
    for where, values in _table(path, _CONSENT_COLUMNS):
        photo, text = _beside(path, values.pop("photo")), values.pop("consent", "")
        fields: dict[str, Any] = {name: value for name, value in values.items() if value}
        if photo in found:
            raise ConfigError(f"{where}: {photo.name} has a row above; leave one out.")
        if bool(text) == bool(fields):
            raise ConfigError(f"{where}: give either consent, or the fields of a record: person, scope, given, until, ...")
        if "scope" in fields:
            fields["scope"] = fields["scope"].split()
        if "evidence" in fields:
            fields["evidence"] = str(_beside(path, fields["evidence"]))
        found[photo] = fields or _consent_beside(path, text)
    return found


def _consent_beside(path: Path, text: str) -> str:
    """Return a consent whose record, if it names one, is found from everywhere."""
    return str(_beside(path, text)) if text.lower().endswith(".toml") and "\n" not in text else text


def _beside(path: Path, name: str) -> Path:
    return (path.parent / Path(name).expanduser()).absolute()


def _table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the place and the values of each row of a CSV file with these columns, of which photo must be there."""
    require_file(path, "CSV file", _MOST_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            head = [name.strip().lower() for name in next(reader, [])]
            for name in head:
                if name not in columns or head.count(name) > 1:
                    known = f"{did_you_mean(name, columns)} Columns may be {', '.join(columns)}."
                    raise ConfigError(f"{path}: the column {shortened(name)!r} is unknown, or there twice.{known}")
            if "photo" not in head:
                raise ConfigError(f"{path} has no column photo; its first line must be, for example, {','.join(columns)}.")
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                values = dict(zip(head, (cell.strip() for cell in cells), strict=False))
                if not any(values.values()):
                    continue
                if len(cells) != len(head) or not values["photo"] or "\0" in "".join(cells):
                    raise ConfigError(f"{where}: expected {len(head)} values ({', '.join(head)}), the photo among them.")
                yield where, values
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file in UTF-8: {error}.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
