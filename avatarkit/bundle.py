"""A finished avatar: a folder that is written whole or not at all, and never holds anything executable.

::

    ada.avatar/
      avatar.safetensors    all tensors
      manifest.json         how it was built
      ...                   pictures, report; whatever the build adds
      cache/                stages for resume; safe to delete
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch

from avatarkit.errors import InputError, StoreError
from avatarkit.store import disk_errors, load_tensors, read_json, save_tensors, sync_folder, write_json

__all__ = ["FORMAT_VERSION", "Bundle", "read_bundle", "read_manifest", "workspace", "write_bundle"]

FORMAT = "avatarkit-avatar"
FORMAT_VERSION = 1
_TENSORS, _MANIFEST, _CACHE = "avatar.safetensors", "manifest.json", "cache"


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
    _recover(path)
    if _is_avatar(path):
        return path / _CACHE
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise StoreError(f"{path} exists and is not an avatar: choose another name with -o.")
    return _beside(path, "work")


def write_bundle(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    manifest: Mapping[str, Any],
    extras: Mapping[str, Path | bytes | str] | None = None,
) -> Path:
    """Writes an avatar; an older one at ``path`` is replaced at the very end. The workspace becomes its cache.

    Args:
        path: of the folder. tensors: of the avatar, and of what is needed to play it.
        manifest: plain values; absolute paths in it are cut to their last part: nothing tells of the user's disk.
        extras: name inside the folder -> file to copy, bytes, or text.

    Raises:
        StoreError: no space, no permission, or ``path`` is taken by something else.
    """
    work = workspace(path)
    temporary = _beside(path, "tmp")
    with disk_errors(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            save_tensors(temporary / _TENSORS, tensors)
            for name, content in (extras or {}).items():
                _write_extra(temporary / name, content)
            complete = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                **_without_folders(manifest),
                "files": {_TENSORS: _sha256(temporary / _TENSORS)},
            }
            write_json(temporary / _MANIFEST, complete)
            sync_folder(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if work.is_dir():
            os.replace(work, temporary / _CACHE)
        old = _beside(path, "old")
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        shutil.rmtree(old, ignore_errors=True)
    return path


def read_bundle(path: Path) -> Bundle:
    """Reads an avatar.

    Raises:
        InputError: there is no avatar at ``path``, it is damaged, or a newer version of avatarkit made it.
    """
    manifest = read_manifest(path)
    file = path / _TENSORS
    if not file.is_file() or manifest.get("files", {}).get(_TENSORS) != _sha256(file):
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
    if not path.exists():
        _recover(path)
    if not path.exists():
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
            "pip install --upgrade avatarkit."
        )
    return manifest


# ------------------------------------------------------------------------------------------------------------- renaming


def _beside(path: Path, purpose: str) -> Path:
    """A hidden neighbour of an avatar folder."""
    return path.with_name(f".{path.name}.{purpose}")


def _is_avatar(path: Path) -> bool:
    return (path / _MANIFEST).is_file()


def _recover(path: Path) -> None:
    """Ends what ``write_bundle`` was killed in, between its renames."""
    temporary, old, work = (_beside(path, purpose) for purpose in ("tmp", "old", "work"))
    if not (temporary.exists() or old.exists()):
        return
    with disk_errors(path):
        if not path.exists() and (temporary / _CACHE).is_dir():  # complete: the cache moves in last
            os.replace(temporary, path)
        elif not path.exists() and old.exists():
            os.replace(old, path)
        elif (temporary / _CACHE).is_dir():
            home = path / _CACHE if _is_avatar(path) else work
            if not home.exists():
                os.replace(temporary / _CACHE, home)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


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


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
