"""The end of a consent: a record in the avatar and in the user's list, and erasing with a receipt."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from avatarkit import __version__
from avatarkit.errors import ConfigError, InputError, StoreError
from avatarkit.storage.bundle import read_manifest, stage_folders
from avatarkit.storage.manifest import LONGEST_TEXT, clean
from avatarkit.storage.stage_cache import write_json
from avatarkit.utils.files import disk_errors, inside, only_user, sha256_of, write_bytes
from avatarkit_provenance.claims import avatar_id
from avatarkit_provenance.keys import credentials
from avatarkit_provenance.revocations import Revocation, remember, revocation
from avatarkit_provenance.signing import SEAL, seal_avatar, signature_of

__all__ = ["RECEIPT", "revoke"]

log = logging.getLogger("avatarkit.provenance")

RECEIPT = "receipt.json"
_KEPT = ("manifest.json", SEAL, RECEIPT, f"{RECEIPT}.c2pa")
_TENSORS = "avatar.safetensors"


def revoke(avatar: Path, reason: str = "", erase: bool = False, policy: dict[str, str] | None = None) -> dict[str, Any]:
    """Record that the consent to an avatar ended, and sign the record.

    Args:
        avatar: its folder.
        reason: for whoever checks it later.
        erase: delete what the manifest lists, and the stages; files of the user's in the folder stay.
        policy: see ``Registry.policy``; with ``sign = no`` the record is not signed.

    Returns:
        The receipt: date, avatar, reason and the erased files with their sha256.

    Raises:
        InputError: there is no avatar, or nothing to sign with.
        ConfigError: the reason is too long.
        StoreError: a file of the avatar cannot be written or deleted.
    """
    if len(reason) > LONGEST_TEXT:
        raise ConfigError(f"--reason may have {LONGEST_TEXT:,} characters.")
    signer = None if (policy or {}).get("sign") == "no" else credentials(policy or {})
    with only_user(avatar, "another name"):
        manifest = read_manifest(avatar)
        real = avatar.resolve()
        today, earlier = date.today().isoformat(), revocation(manifest)
        if earlier is None or earlier.what != Revocation.what:
            earlier = Revocation(today)
        ended = replace(earlier, reason=clean(reason) or earlier.reason, erased=erase or earlier.erased)
        own = _own(real, manifest) if erase else []
        receipt: dict[str, Any] = {
            "format": "avatarkit-receipt", "avatarkit": __version__, "date": today, "name": avatar.name,
            "avatar": avatar_id(manifest), "photo": manifest.get("inputs", {}).get("photo", ""), "reason": ended.reason,
            "erased": {name: sha256_of(real / name) for name in own}, "not_reached": _elsewhere() if erase else [],
        }  # fmt: skip
        record = {"date": ended.date, "reason": ended.reason, "erased": ended.erased}
        write_json(real / "manifest.json", {**manifest, "revoked": record})
        if avatar_id(manifest):
            try:
                remember(manifest, ended)
            except StoreError as error:
                log.warning("Note: Copies of the avatar are not known as revoked on this machine: %s", error)
        with disk_errors(real):
            (real / SEAL).unlink(missing_ok=True)
        if erase:
            _erase(real, own)
            write_json(real / RECEIPT, receipt)
        if signer is not None:
            seal_avatar(real, signer)
            if erase:
                write_bytes(real / f"{RECEIPT}.c2pa", signature_of(real / RECEIPT, manifest, signer))
    return receipt


def _own(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the files to erase: those that the manifest lists, and those of the stages.

    Raises:
        InputError: the folder of stages leads elsewhere.
    """
    if (folder / "cache").is_symlink():
        raise InputError(f"{folder / 'cache'} is a link: delete it first.")
    listed = [n for n in manifest.get("files", {}) if n not in _KEPT and os.path.lexists(folder / n) and inside(folder, n)]
    made = [part for part in stage_folders(folder).get(folder / "cache", []) for part in part.rglob("*")]
    return sorted({*listed, *(p.relative_to(folder).as_posix() for p in made if stat.S_ISREG(p.lstat().st_mode))})


def _erase(folder: Path, own: list[str]) -> None:
    with disk_errors(folder):
        for name in own:
            (folder / name).unlink(missing_ok=True)
        for place, made in stage_folders(folder).items():
            for part in made:
                shutil.rmtree(part)
            with suppress(OSError):  # a file of the user's is there, too
                place.rmdir()
    if (folder / _TENSORS).exists():
        raise StoreError(f"{folder / _TENSORS} could not be erased.")


def _elsewhere() -> list[str]:
    return ["copies of the avatar", "pictures, films and exports made with it", "the photo itself", "backups of the disk"]
