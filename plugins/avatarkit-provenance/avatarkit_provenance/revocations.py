"""Revoked avatars: their manifests say so, and a list of the user's knows copies, and other avatars of the same photo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from avatarkit.errors import StoreError
from avatarkit.utils.files import disk_sentence, write_text
from avatarkit.utils.plain import BadText, parse_json
from avatarkit.utils.text import json_safe
from avatarkit_provenance.claims import avatar_id
from avatarkit_provenance.keys import own_folder

__all__ = ["Revocation", "remember", "revocation"]

_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Revocation:
    """The end of a consent.

    Attributes:
        date: day of it, YYYY-MM-DD; "" if unknown.
        reason: for whoever checks it later; may be "".
        erased: whether the avatar was erased, too.
        what: whose consent: "this avatar", or "an avatar of the same photo".
    """

    date: str
    reason: str = ""
    erased: bool = False
    what: str = "this avatar"


def revocation(manifest: dict[str, Any]) -> Revocation | None:
    """Return the revocation that concerns an avatar, None if there is none.

    Its manifest may hold one. The user's list knows avatars by their tensors and by their photo, so that copies, and avatars that
    were built again from the photo, are found, too. A consent that was given after the day of a revocation is a new one.

    Raises:
        StoreError: the list is damaged or cannot be read.
    """
    if own := manifest.get("revoked"):
        return Revocation(own.get("date", ""), own.get("reason", ""), bool(own.get("erased")))
    avatar, photo = avatar_id(manifest), (manifest.get("inputs") or {}).get("photo")
    given = (manifest.get("consent_record") or {}).get("given", "")
    found: Revocation | None = None
    for name, entry in _known().items():
        same = name == avatar
        if (same or (photo and entry.get("photo") == photo)) and not given > str(entry.get("date", "")):
            what = "this avatar" if same else "an avatar of the same photo"
            found = Revocation(str(entry.get("date", "")), str(entry.get("reason", "")), what=what)
            if same:
                break
    return found


def remember(manifest: dict[str, Any], ended: Revocation) -> None:
    """Add an avatar to the user's list.

    Raises:
        StoreError: the list cannot be read or written.
    """
    entry = {"date": ended.date, "reason": ended.reason, "photo": (manifest.get("inputs") or {}).get("photo", "")}
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(".revoked.lock"), timeout=20):
            write_text(path, json_safe(json.dumps({**_known(), avatar_id(manifest): entry}, indent=2)) + "\n")
    except OSError as error:
        raise StoreError(disk_sentence(path, error.errno, error, "AVATARKIT_CACHE")) from error


def _path() -> Path:
    return own_folder().with_name("revoked.json")


def _known() -> dict[str, dict[str, Any]]:
    path = _path()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise StoreError(f"The list of revoked avatars {path} is too large; move it away.")
        found = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, BadText) as error:
        raise StoreError(f"The list of revoked avatars {path} cannot be read ({error}); repair it or move it away.") from error
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}
