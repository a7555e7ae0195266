"""The avatars in the studio's folder. It deletes only those that it made itself."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from avatarkit.errors import InputError
from avatarkit.utils.files import avatar_files, disk_errors, inside, read_text, relative_name, sha256_of, write_text
from avatarkit.utils.plain import parse_json
from avatarkit.utils.text import one_line
from avatarkit_cli.commands.build import measures

__all__ = ["Library", "numbered", "slug"]

_LONGEST = 60  # characters of a name
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}  # on Windows
_MOST_BYTES = 4 << 20  # of a manifest or the record
_MANIFEST = "manifest.json"


def slug(text: str, otherwise: str = "avatar") -> str:
    """Return a file name of letters, digits and single hyphens from any text."""
    plain = "".join(c.lower() if c.isalnum() else "-" for c in unicodedata.normalize("NFC", text))
    name = "-".join(part for part in plain.split("-") if part)[:_LONGEST].strip("-")
    while len(name.encode()) > 3 * _LONGEST:  # file systems count bytes
        name = name[:-1]
    return f"{name}-avatar" if name in _RESERVED else name or otherwise


class Library:
    """Avatars of a folder, by name; a record says which of them the studio made.

    Args:
        folder: of the avatars.
        record: file that holds name -> sha256 of the manifest of the avatars that the studio made.
    """

    def __init__(self, folder: Path, record: Path) -> None:
        self.folder, self._record = folder, record
        self._read: dict[Path, tuple[int, dict[str, Any]]] = {}

    def names(self) -> list[str]:
        """Return the names of the avatars, the newest first."""
        found = [path for path in self.folder.glob("*.avatar") if not path.is_symlink() and (path / _MANIFEST).is_file()]
        return [path.name.removesuffix(".avatar") for path in sorted(found, key=_written, reverse=True)]

    def path(self, name: str) -> Path:
        """Return the folder of an avatar.

        Raises:
            InputError: there is none of this name.
        """
        if name not in self.names():
            raise InputError("This avatar is not there any more.")
        return self.folder / f"{name}.avatar"

    def describe(self) -> list[dict[str, Any]]:
        """Return the avatars as plain values for the page."""
        made = self._made()
        return [self._facts(name, made) for name in self.names()]

    def digest(self, name: str) -> str:
        """Return what changes when an avatar is built anew."""
        return sha256_of(self.path(name) / _MANIFEST)

    def take_in(self, built: Path, name: str) -> str:
        """Move a finished avatar into the folder, and return its name there; that of another avatar is never taken."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = next(n for n in numbered(name) if not (self.folder / f"{n}.avatar").exists())
        with disk_errors(self.folder, "--folder"):
            built.rename(self.folder / f"{free}.avatar")
        self._write(self._made() | {free: self.digest(free)})
        return free

    def delete(self, name: str) -> None:
        """Delete an avatar that the studio made; files of the user's in its folder stay.

        Raises:
            InputError: the studio did not make it, or it was changed.
        """
        path = self.path(name)
        if self._made().get(name) != self.digest(name):
            raise InputError(f"{name} was not made here, or was built anew since: delete {path.name} in the folder itself.")
        own = [n for n in avatar_files(path) if relative_name(n) is not None and inside(path, n)]
        with disk_errors(path, "--folder"):
            for file in (_MANIFEST, "manifest.c2pa", *own):  # without its manifest it is no avatar any more
                (path / file).unlink(missing_ok=True)
            for folder in sorted({(path / n).parent for n in own} | {path}, key=lambda p: len(p.parts), reverse=True):
                with suppress(OSError):  # files of the user's are in it
                    folder.rmdir()
        made = self._made()
        made.pop(name, None)
        self._write(made)

    def _facts(self, name: str, made: dict[str, str]) -> dict[str, Any]:
        manifest = self._manifest(self.folder / f"{name}.avatar")
        recipe, consent, notes = manifest.get("recipe"), manifest.get("consent"), manifest.get("warnings")
        metrics = manifest.get("metrics")
        return {
            "name": name,
            "fit": ", ".join(measures(metrics)) if isinstance(metrics, dict) else "",
            "preset": one_line(str(recipe.get("name") or "")) if isinstance(recipe, dict) else "",
            "consent": one_line(consent) if isinstance(consent, str) else "",
            "notes": [one_line(str(note)) for note in notes][:20] if isinstance(notes, list) else [],
            "made": int(_written(self.folder / f"{name}.avatar")),
            "own": name in made and made[name] == manifest.get("digest"),
        }

    def _manifest(self, path: Path) -> dict[str, Any]:
        """Return the manifest of an avatar with its ``digest``; empty if it cannot be read."""
        file = path / _MANIFEST
        with suppress(OSError, ValueError, InputError):
            changed = file.stat().st_mtime_ns
            if self._read.get(path, (0, {}))[0] != changed:
                found = parse_json(read_text(file, "manifest", _MOST_BYTES))
                self._read[path] = changed, {**found, "digest": sha256_of(file)} if isinstance(found, dict) else {}
            return self._read[path][1]
        return {}

    def _made(self) -> dict[str, str]:
        with suppress(InputError, ValueError):
            found = parse_json(read_text(self._record, "record", _MOST_BYTES))
            if isinstance(found, dict):
                return {name: digest for name, digest in found.items() if isinstance(digest, str)}
        return {}

    def _write(self, made: dict[str, str]) -> None:
        write_text(self._record, json.dumps(made, indent=1))


def _written(path: Path) -> float:
    try:
        return (path / _MANIFEST).stat().st_mtime
    except OSError:
        return 0.0


def numbered(name: str) -> Iterator[str]:
    """Yield a name, and then the same with the numbers from 2 on."""
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1
