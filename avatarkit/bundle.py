"""A finished avatar: a folder that is written whole or not at all, and never holds anything executable.

::

    ada.avatar/
      avatar.safetensors    all tensors
      manifest.json         how it was built, and which files of the folder belong to the avatar
      ...                   pictures, report; whatever the build adds
      cache/                stages for resume; safe to delete

Files that the manifest does not list are the user's: a rebuild leaves them where they are.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch

from avatarkit.descriptors import DISTRIBUTION
from avatarkit.errors import InputError, StoreError
from avatarkit.files import disk_errors, install, only_user, relative_name, sha256_of, sync, sync_folder, temporary_folder
from avatarkit.store import load_tensors, read_json, save_tensors, write_json

__all__ = ["FORMAT_VERSION", "Bundle", "check_extras", "read_bundle", "read_manifest", "recover", "workspace", "write_bundle"]

FORMAT = "avatarkit-avatar"
FORMAT_VERSION = 1
_TENSORS, _MANIFEST, _CACHE = "avatar.safetensors", "manifest.json", "cache"
_OWN = frozenset({_TENSORS, _MANIFEST, "preview.png", "preview.mp4", "report.html"})  # names that every avatar may hold


@dataclass(frozen=True)
class Bundle:
    """An avatar as read from the disk.

    Attributes:
        tensors: name -> tensor, on the CPU. manifest: plain values. path: of the folder.
    """

    tensors: dict[str, torch.Tensor]
    manifest: dict[str, Any]
    path: Path


def workspace(path: Path) -> Path:
    """Where the stages of a build of ``path`` live until (and after) it is finished; may not exist yet.

    Inside an avatar that is there already, else in a hidden folder beside it.

    Raises:
        StoreError: ``path`` is taken by something that is not an avatar.
    """
    path = _real(path)
    if _is_avatar(path):
        return path / _CACHE
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise StoreError(f"{path} exists and is not an avatar: choose another name with -o.")
    return _beside(path, "work")


def check_extras(path: Path, names: tuple[str, ...]) -> None:
    """Checks before a build that no file of the user's inside an avatar is in the way of what the build adds.

    Raises:
        StoreError: there is one.
    """
    path = _real(path)
    ours = _listed(path)
    for name in names:
        if os.path.lexists(path / name) and name not in ours:
            raise StoreError(f"{path / name} exists and is not part of the avatar: move it away, or choose another name with -o.")


def write_bundle(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    manifest: Mapping[str, Any],
    extras: Mapping[str, Path | bytes | str] | None = None,
) -> Path:
    """Writes an avatar. Of an older one at ``path`` only the files that its manifest lists are replaced, at the very end.

    Args:
        path: of the folder. tensors: of the avatar, and of what is needed to play it.
        manifest: plain values; absolute paths in it are cut to their last part: nothing tells of the user's disk.
        extras: name inside the folder -> file to copy, bytes, or text.

    Raises:
        StoreError: no space, no permission, or ``path`` is taken by something else.
    """
    real = _real(path)
    workspace(real)
    check_extras(real, tuple(extras or {}))
    with temporary_folder(real) as temporary:
        save_tensors(temporary / _TENSORS, tensors)
        with disk_errors(real):
            for name, content in (extras or {}).items():
                _write_extra(temporary / name, content)
            complete = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                **_without_folders(manifest),
                "files": {name: sha256_of(temporary / name) for name in sorted({_TENSORS, *(extras or {})})},
            }
        write_json(temporary / _MANIFEST, complete)
        with disk_errors(real):
            sync_folder(temporary)
            if _is_avatar(real):
                os.replace(temporary, _beside(real, "new"))  # from here on the new avatar counts, whatever happens
            else:
                with suppress(FileNotFoundError):
                    real.rmdir()  # an empty folder
                os.replace(temporary, real)
            sync(real.parent)
            recover(real)
    return path


def recover(path: Path) -> None:
    """Ends what ``write_bundle`` began or was killed in; the caller keeps other processes away with ``only_user``.

    A complete new avatar beside ``path`` takes the place of the old one, and the workspace becomes the avatar's cache.
    """
    path = _real(path)
    new, work = _beside(path, "new"), _beside(path, "work")
    with disk_errors(path):
        if _is_avatar(new) and not os.path.lexists(path):
            os.replace(new, path)
        elif _is_avatar(path) and new.is_dir() and (_is_avatar(new) or not any(p.is_file() for p in new.rglob("*"))):
            kept = _listed(path)
            obsolete = [name for name, sha256 in kept.items() if name not in _OWN and _unchanged(path / name, sha256)]
            install(new, path, _MANIFEST, obsolete)
        if work.is_dir() and _is_avatar(path) and not os.path.lexists(path / _CACHE):
            os.replace(work, path / _CACHE)


def _unchanged(file: Path, sha256: str) -> bool:
    try:
        return sha256_of(file) == sha256
    except OSError:
        return False


def _listed(path: Path) -> dict[str, str]:
    """Name -> sha256 of the files that belong to the avatar at ``path``; those that every avatar may hold are among them."""
    own = dict.fromkeys(_OWN, "")
    if not _is_avatar(path):
        return {}
    with suppress(StoreError):
        files = read_json(path / _MANIFEST).get("files")
        if isinstance(files, dict):
            own |= {n: s for n, s in files.items() if relative_name(n) is not None and isinstance(s, str)}
    return own


def read_bundle(path: Path) -> Bundle:
    """Reads an avatar.

    Raises:
        InputError: there is no avatar at ``path``, it is damaged, or a newer version of avatarkit made it.
    """
    manifest = read_manifest(path)
    file = path / _TENSORS
    files = manifest.get("files")
    listed = files.get(_TENSORS) if isinstance(files, dict) else None
    with disk_errors(file):
        whole = file.is_file() and listed == sha256_of(file)
    if not whole:
        raise InputError(f"The avatar {path} is damaged: {_TENSORS} is missing or was changed. Build it again.")
    try:
        return Bundle(load_tensors(file), manifest, path)
    except StoreError as error:
        raise InputError(f"The avatar {path} is damaged: {error} Build it again.") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """How an avatar was built, without its tensors.

    Raises:
        InputError: as ``read_bundle``.
    """
    if os.path.lexists(_beside(_real(path), "new")):
        with suppress(StoreError), only_user(path):
            recover(path)
    if not os.path.lexists(path):
        raise InputError(f"There is no avatar {path}.")
    if not path.is_dir() or not (path / _MANIFEST).is_file():
        raise InputError(f"{path} is not an avatar: an avatar is a folder with a {_MANIFEST}, made by avatarkit build.")
    try:
        manifest = read_json(path / _MANIFEST)
    except StoreError as error:
        raise InputError(f"The avatar {path} is damaged: {error} Build it again.") from error
    version = manifest.get("format_version")
    if manifest.get("format") != FORMAT or not isinstance(version, int):
        raise InputError(f"{path} is not an avatar: its {_MANIFEST} is not one of avatarkit's.")
    if version > FORMAT_VERSION:
        raise InputError(
            f"The avatar {path} was made by a newer avatarkit (format {version}, this one reads {FORMAT_VERSION}): "
            f"pip install --upgrade {DISTRIBUTION}."
        )
    return manifest


# ------------------------------------------------------------------------------------------------------------- renaming


def _real(path: Path) -> Path:
    """The folder itself where ``path`` is a link to it."""
    return Path(os.path.realpath(path))


def _beside(path: Path, purpose: str) -> Path:
    """A hidden neighbour of an avatar folder."""
    return path.with_name(f".{path.name}.{purpose}")


def _is_avatar(path: Path) -> bool:
    """Whether the folder bears the mark of an avatar; that it can be played is not looked at."""
    if not (path / _MANIFEST).is_file():
        return False
    try:
        manifest = read_json(path / _MANIFEST)
    except StoreError:
        return False
    return manifest.get("format") == FORMAT and isinstance(manifest.get("format_version"), int)


def _write_extra(target: Path, content: Path | bytes | str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, target)
    elif isinstance(content, bytes):
        target.write_bytes(content)
    else:
        target.write_text(content, encoding="utf-8")


def _without_folders(value: Any) -> Any:
    """Absolute paths anywhere in plain values, cut to their last part."""
    if isinstance(value, Mapping):
        return {k: _without_folders(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_folders(v) for v in value]
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str) and "\n" not in value:
        if value.startswith("/"):
            return PurePosixPath(value).name
        if re.match(r"[A-Za-z]:[\\/]|\\\\", value):
            return PureWindowsPath(value).name
    return value
